# InsideOut's commands. Everything sets itself up: `make demo` and `make test` need python3.11, git and make only.
PYTHON ?= python3.11
BIN := .venv/bin
OUT ?= out/dataset
MODELS ?= out/samples
DEMO ?= out/demo
ADDRESS ?= http://127.0.0.1:8265
ARGS ?=
READY := .venv/.insideout-ready
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0

.DEFAULT_GOAL := help
.PHONY: help samples render fuse train generate submit demo test check bench doctor lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

# A .venv that somebody else made is left alone, and in the way.
$(READY): pyproject.toml requirements.lock
	@test ! -e .venv -o -e .venv/.insideout || { echo ".venv is not this Makefile's: move it away"; exit 1; }
	sh configs/setup-system.sh $(PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	touch .venv/.insideout
	$(BIN)/pip install -q --disable-pip-version-check -c requirements.lock -e '.[train,clip,dev]'
	touch $@

samples: $(READY) ## make the embedded sample models: MODELS=DIR
	$(BIN)/insideout samples $(MODELS)

render: $(READY) ## models to view bundles: MODELS=DIR OUT=DIR ARGS="--views 20"
	$(BIN)/insideout render --models $(MODELS) --out $(OUT) $(ARGS)

fuse: $(READY) ## view bundles to cloud shards: OUT=DIR
	$(BIN)/insideout fuse --out $(OUT) $(ARGS)

train: $(READY) ## train a generator on the shards: OUT=DIR
	$(BIN)/insideout train --out $(OUT) $(ARGS)

generate: $(READY) ## image to cloud: ARGS="--checkpoint C --image I.png --out cloud.ply"
	$(BIN)/insideout generate $(ARGS)

submit: $(READY) ## run a verb on a Ray cluster: ADDRESS=http://HEAD:8265 ARGS="render --models M --out OUT"
	$(BIN)/insideout submit --address $(ADDRESS) $(ARGS)

$(DEMO)/models/samples.csv: | $(READY)
	$(BIN)/insideout samples $(DEMO)/models

demo: $(READY) $(DEMO)/models/samples.csv ## the whole main job on the sample models, into out/demo
	$(BIN)/insideout render --models $(DEMO)/models --out $(DEMO)/dataset --config configs/quickstart.yaml
	$(BIN)/insideout fuse --out $(DEMO)/dataset --config configs/quickstart.yaml
	$(BIN)/insideout verify $(DEMO)/dataset
	$(BIN)/insideout sheet $(DEMO)/dataset --to $(DEMO)/sheet.png --most 100
	$(BIN)/insideout train --out $(DEMO)/dataset --config configs/quickstart.yaml --run demo
	$(BIN)/insideout export $(DEMO)/dataset car.glb --to $(DEMO)/car
	$(BIN)/insideout export $(DEMO)/dataset car.glb --to $(DEMO)/car.ply
	$(BIN)/insideout generate --checkpoint $(DEMO)/dataset/checkpoints/demo \
		--image $(DEMO)/car/rgba/000.png --out $(DEMO)/generated.ply
	$(BIN)/insideout evaluate --checkpoint $(DEMO)/dataset/checkpoints/demo --out $(DEMO)/dataset \
		--pictures $(DEMO)/evaluation.png

test: $(READY) ## the tests: ARGS="-k name"
	$(BIN)/python -m pytest $(ARGS)

check: $(READY) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(READY) ## seconds a model, per step
	$(BIN)/insideout bench $(ARGS)

doctor: $(READY) ## what is wrong with this machine, and the cure
	$(BIN)/insideout doctor

lock: $(READY) ## write requirements.lock from what .venv holds
	@{ sed -n '/^#/p' requirements.lock; $(BIN)/pip freeze --exclude-editable --exclude insideout \
		| sed -E 's/ @ .*//; s/\+[a-z0-9.]+$$//' | grep '=='; } > requirements.new && mv requirements.new requirements.lock

clean: ## remove what the commands made: .venv, caches, out/
	@test ! -e .venv/.insideout || rm -rf .venv
	rm -rf out build *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
