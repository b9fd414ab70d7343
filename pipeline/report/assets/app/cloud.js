"use strict";
// The cloud in 3D: three.js, drawn when something changes. One renderer serves every model.

report.Cloud = class {
  static KINDS = ["outside", "hidden", "solid"];
  static LABELS = { outside: [150, 156, 166], hidden: [230, 120, 30], solid: [40, 125, 200] };
  static EYE = [0.75, -1, 0.55];
  static VERTEX = `
    attribute vec3 tint;
    uniform float radius, pixels;
    uniform vec4 plane;
    varying vec3 color;
    varying float beyond;
    void main() {
      vec4 seen = modelViewMatrix * vec4(position, 1.0);
      gl_Position = projectionMatrix * seen;
      gl_PointSize = clamp(2.0 * radius * pixels / -seen.z, 1.5, 96.0);
      color = tint;
      beyond = dot(plane.xyz, position) - plane.w;
    }`;
  static FRAGMENT = `
    varying vec3 color;
    varying float beyond;
    void main() {
      vec2 at = gl_PointCoord * 2.0 - 1.0;
      float r2 = dot(at, at);
      if (beyond > 0.0 || r2 > 1.0) discard;
      vec3 normal = vec3(at.x, -at.y, sqrt(1.0 - r2));
      float light = 0.82 + 0.22 * max(dot(normal, vec3(-0.35, 0.55, 0.76)), 0.0);
      gl_FragColor = vec4(color * light, 1.0);
    }`;

  constructor(host) {
    this.host = host;
    this.renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true });
    this.canvas = this.renderer.domElement;
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(32, 1, 0.05, 50);
    this.camera.up.set(0, 0, 1);
    this.controls = new THREE.OrbitControls(this.camera, this.canvas);
    this.controls.addEventListener("change", () => this.plan());
    this.uniforms = { radius: { value: 0.02 }, pixels: { value: 500 }, plane: { value: new THREE.Vector4(0, 0, 0, 1) } };
    this.material = new THREE.ShaderMaterial({ uniforms: this.uniforms, vertexShader: this.constructor.VERTEX, fragmentShader: this.constructor.FRAGMENT });
    this.frame = this.outline();
    this.scene.add(this.frame);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    host.append(this.canvas);
    new ResizeObserver(() => this.resize()).observe(host);
    this.points = {};
    this.reset();
  }

  show(page) {
    for (const points of Object.values(this.points)) { this.scene.remove(points); points.geometry.dispose(); }
    this.points = {};
    this.page = page;
    for (const kind of this.constructor.KINDS) {
      const { xyz, points } = page.clouds[kind];
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute("position", new THREE.BufferAttribute(Float32Array.from(report.shorts(xyz), (code) => code / 32767), 3));
      geometry.setAttribute("tint", new THREE.BufferAttribute(new Uint8Array(points * 3), 3, true));
      this.points[kind] = new THREE.Points(geometry, this.material);
      this.points[kind].frustumCulled = false;
      this.scene.add(this.points[kind]);
    }
    const shares = this.constructor.KINDS.map((kind) => `${report.count(page.clouds[kind].points)} ${kind}`);
    this.canvas.setAttribute("aria-label", `3D view of ${page.uid}: ${shares.join(", ")} points. Arrow keys orbit, plus and minus zoom, 0 resets.`);
    this.fit();
  }

  // The model's own reach fills the view; the direction stays, so that models can be compared.
  fit() {
    const { array } = this.points.outside.geometry.getAttribute("position");
    let most = 0.09;
    this.half = [0.05, 0.05, 0.05]; // of the box, which is centered
    for (let at = 0; at < array.length; at += 3) {
      most = Math.max(most, array[at] ** 2 + array[at + 1] ** 2 + array[at + 2] ** 2);
      for (let axis = 0; axis < 3; axis++) this.half[axis] = Math.max(this.half[axis], Math.abs(array[at + axis]));
    }
    this.distance = (1.08 * Math.sqrt(most)) / Math.sin((this.camera.fov * Math.PI) / 360);
    this.camera.position.setLength(this.distance);
    this.controls.target.set(0, 0, 0);
    this.controls.update();
    this.plan();
  }

  // `settings`: {outside, hidden, solid, color, radius, axis, at, flip}
  set(settings) {
    const toEye = settings.axis === "y" ? -1 : 1; // what is toward the eye is cut away
    const side = settings.flip ? -toEye : toEye;
    const axis = { x: [1, 0, 0], y: [0, 1, 0], z: [0, 0, 1] }[settings.axis];
    this.uniforms.plane.value.set(...(axis ? [...axis.map((value) => value * side), settings.at * side] : [0, 0, 0, 1]));
    this.uniforms.radius.value = settings.radius;
    this.frame.visible = Boolean(axis);
    if (axis) this.turn(settings.axis, settings.at);
    for (const kind of this.constructor.KINDS) this.points[kind].visible = settings[kind];
    if (this.color !== settings.color || this.colored !== this.page) this.paint(settings.color);
    this.plan();
  }

  paint(mode) {
    [this.color, this.colored] = [mode, this.page];
    for (const kind of this.constructor.KINDS) {
      const tint = this.points[kind].geometry.getAttribute("tint");
      tint.array.set(this.tints(this.page.clouds[kind], kind, mode));
      tint.needsUpdate = true;
    }
  }

  // Hidden points have no lit color, solid ones no color at all.
  tints(cloud, kind, mode) {
    const found = { lit: cloud.rgb ?? cloud.albedo, albedo: cloud.albedo, normal: cloud.normal }[mode];
    if (!found) {
      const label = this.constructor.LABELS[kind];
      return Uint8Array.from({ length: cloud.points * 3 }, (_, at) => label[at % 3]);
    }
    const bytes = report.bytes(found);
    return mode === "normal" ? Uint8Array.from(new Int8Array(bytes.buffer), (code) => code + 128) : bytes;
  }

  outline() {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(12), 3));
    const material = new THREE.LineBasicMaterial({ color: 0xe8590c });
    const loop = new THREE.LineLoop(geometry, material);
    loop.frustumCulled = false;
    return loop;
  }

  turn(axis, at) {
    const [x, y, z] = this.half.map((value) => value * 1.08 + 0.02);
    const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([a, b]) => ({ x: [at, a * y, b * z], y: [a * x, at, b * z], z: [a * x, b * y, at] })[axis]);
    const position = this.frame.geometry.getAttribute("position");
    position.array.set(corners.flat());
    position.needsUpdate = true;
  }

  reset() {
    this.camera.position.set(...this.constructor.EYE).setLength(this.distance ?? 4.6);
    this.controls.target.set(0, 0, 0);
    this.controls.update();
    this.plan();
  }

  key(event) {
    const step = 0.12;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves) this.orbit(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.orbit(0, 0, 0.9);
    else if (event.key === "-") this.orbit(0, 0, 1 / 0.9);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }

  orbit(around, down, closer = 1) {
    const { camera, controls } = this;
    const arm = camera.position.clone().sub(controls.target);
    const radius = Math.min(20, Math.max(0.3, arm.length() * closer));
    const azimuth = Math.atan2(arm.y, arm.x) + around;
    const polar = Math.min(Math.PI - 0.02, Math.max(0.02, Math.acos(arm.z / arm.length()) + down));
    arm.set(Math.sin(polar) * Math.cos(azimuth), Math.sin(polar) * Math.sin(azimuth), Math.cos(polar)).multiplyScalar(radius);
    camera.position.copy(controls.target).add(arm);
    controls.update();
    this.plan();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.renderer.setSize(width, height);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.uniforms.pixels.value = this.canvas.height / 2 / Math.tan((this.camera.fov * Math.PI) / 360);
    this.draw();
  }

  plan() {
    this.planned ??= requestAnimationFrame(() => { this.planned = null; this.draw(); });
  }

  draw() {
    this.renderer.render(this.scene, this.camera);
  }
};
