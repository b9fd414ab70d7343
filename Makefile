# InsideOut's commands. Everything sets itself up: `make demo` and `make test` need python3.11, git and make only.
PYTHON ?= python3.11
BIN := .venv/bin
OUT ?= out/dataset
MODELS ?= out/samples
DEMO ?= out/demo
ADDRESS ?= http://127.0.0.1:8265
JOBS ?= 2
ARGS ?=
IN_PARALLEL = -n $(JOBS) --dist loadfile --no-loadscope-reorder
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0

.DEFAULT_GOAL := help
.PHONY: help setup doctor samples render fuse curate report train generate submit demo test soak check bench lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: ## system packages and .venv; every command below does it first: PYTHON=python3.11
	@bash configs/setup.sh install "$(PYTHON)"

doctor: ## what is wrong with this machine or with .venv, and the fix; works before set-up
	@bash configs/setup.sh doctor "$(PYTHON)"

samples: setup ## make the embedded sample models: MODELS=DIR
	$(BIN)/insideout samples "$(MODELS)"

render: setup ## models to view bundles: MODELS=DIR OUT=DIR ARGS="--views 20"
	$(BIN)/insideout render "$(MODELS)" "$(OUT)" $(ARGS)

fuse: setup ## view bundles to cloud shards: OUT=DIR
	$(BIN)/insideout fuse "$(OUT)" $(ARGS)

curate: setup ## which models training sees: flat ones, near-duplicates, clusters, buckets: OUT=DIR
	$(BIN)/insideout curate "$(OUT)" $(ARGS)

report: setup ## a page to look at, OUT/report/index.html: OUT=DIR
	$(BIN)/insideout report "$(OUT)" $(ARGS)

train: setup ## train a generator on the shards: OUT=DIR
	$(BIN)/insideout train "$(OUT)" $(ARGS)

generate: setup ## image to cloud: ARGS="--checkpoint C --image I.png --to cloud.ply"
	$(BIN)/insideout generate $(ARGS)

submit: setup ## run a verb on a Ray cluster: ADDRESS=http://HEAD:8265 ARGS="render MODELS OUT"
	$(BIN)/insideout submit --address "$(ADDRESS)" $(ARGS)

demo: setup ## the whole main job on the sample models, into out/demo
	@test -e "$(DEMO)/models/samples.csv" || $(BIN)/insideout samples "$(DEMO)/models"
	$(BIN)/insideout render "$(DEMO)/models" "$(DEMO)/dataset" --config quickstart
	$(BIN)/insideout fuse "$(DEMO)/dataset" --config quickstart
	$(BIN)/insideout verify "$(DEMO)/dataset"
	$(BIN)/insideout sheet "$(DEMO)/dataset" --to "$(DEMO)/sheet.png" --most 100
	$(BIN)/insideout train "$(DEMO)/dataset" --config quickstart --run demo
	$(BIN)/insideout train "$(DEMO)/dataset" --config segment_cpu --run segment --steps 120 --views 6 \
		--val-every 0 --score-every 0 --sample-every 0
	$(BIN)/insideout train "$(DEMO)/dataset" --config upsample_cpu --run finer --steps 400 --views 8 \
		--val-every 0 --score-every 0 --sample-every 0
	$(BIN)/insideout export "$(DEMO)/dataset" car.glb --to "$(DEMO)/car"
	$(BIN)/insideout export "$(DEMO)/dataset" car.glb --to "$(DEMO)/car.ply"
	$(BIN)/insideout generate --checkpoint "$(DEMO)/dataset/checkpoints/demo" \
		--image "$(DEMO)/car/rgba/000.png" --cameras "$(DEMO)/car/transforms.json" --to "$(DEMO)/generated.ply"
	$(BIN)/insideout generate --checkpoint "$(DEMO)/dataset/checkpoints/demo" --view-rule mean --steps 16 \
		--image "$(DEMO)/car/rgba/000.png" "$(DEMO)/car/rgba/005.png" "$(DEMO)/car/rgba/010.png" \
		--cameras "$(DEMO)/car/transforms.json" --to "$(DEMO)/generated-of-three.ply"
	$(BIN)/insideout compose --checkpoint "$(DEMO)/dataset/checkpoints/demo" --steps 16 --guidance 2 \
		--segmenter "$(DEMO)/dataset/checkpoints/segment" --upsampler "$(DEMO)/dataset/checkpoints/finer" \
		"$(DEMO)/car/rgba/000.png" "$(DEMO)/car/rgba/005.png" "$(DEMO)/car/rgba/010.png" \
		--cameras "$(DEMO)/car/transforms.json" --to "$(DEMO)/composed"
	$(BIN)/insideout evaluate "$(DEMO)/dataset" --checkpoint "$(DEMO)/dataset/checkpoints/demo" \
		--split train --pictures "$(DEMO)/evaluation.png"
	$(BIN)/insideout report "$(DEMO)/dataset"
	@printf '\nThe demo is done. Look at\n'
	@printf '  %-38s %s\n' \
		"$(DEMO)/dataset/report/index.html" "every model, in 3D too; the run's curves and samples" \
		"$(DEMO)/sheet.png" "the dataset: lit view, depth, albedo and cloud of every model" \
		"$(DEMO)/generated.png" "a cloud generated from one picture of the car, with its inside" \
		"$(DEMO)/generated-of-three.png" "a cloud generated from three pictures of the car" \
		"$(DEMO)/composed/picture.png" "three pictures, what lies inside each, their clouds; merged, refined, cut open" \
		"$(DEMO)/evaluation.png" "every sample: picture, generated cloud, true cloud" \
		"$(DEMO)/dataset/README.md" "the dataset card"

test: setup ## proves this installation, in JOBS=2 processes: ARGS="-k name"
	$(BIN)/python -m pytest -m "not soak" $(IN_PARALLEL) $(ARGS)

soak: setup ## the long forms of the tests: every broken file, kill time and real model
	$(BIN)/python -m pytest -m soak $(IN_PARALLEL) $(ARGS)

check: setup ## lint, format, types, shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/shellcheck .ci/run .ci/light configs/setup.sh examples/it_learns.sh

bench: setup ## seconds per model and step
	$(BIN)/insideout bench $(ARGS)

lock: setup ## write requirements.lock from what .venv holds
	@{ sed -n '/^#/p' requirements.lock; $(BIN)/pip freeze --exclude-editable --exclude insideout3d \
		| sed -E 's/ @ .*//; s/\+[a-z0-9.]+$$//' | grep '=='; } > requirements.new && mv requirements.new requirements.lock

clean: ## remove what the commands made: .venv, caches, out/
	@test ! -e .venv/.insideout || rm -rf .venv
	rm -rf out build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
