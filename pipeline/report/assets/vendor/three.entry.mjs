// What the page uses of three.js, as the global THREE: see README.md.
export {
  BufferAttribute, BufferGeometry, LineBasicMaterial, LineLoop, PerspectiveCamera, Points, Scene, ShaderMaterial,
  Vector4, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
