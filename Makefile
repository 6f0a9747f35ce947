# Two commands do everything on a fresh machine: `make demo` and `make test`.
.PHONY: demo test quick lint types imports docs bench results compression-results profile-results study-results \
	assistant-results research-variances published-results low-bits-results \
	matched-bytes-results paper-results paper-agents go2-results clean

BIN := .venv/bin
# Tests start hundreds of processes, which should not compile the source again each time.
test quick: export PYTHONDONTWRITEBYTECODE :=
DEMO_OUT ?= out/demo
# Published reports keep their Markdown and PNG; the page and the SVG are large and made in seconds.
slim = rm -f $(1)/index.html $(1)/figures/*.svg && \
	sed -i -e 's| \[SVG\](figures/[^)]*)||' -e 's| as PNG and SVG| as PNG|' $(1)/report.md

.venv/.installed: requirements.lock pyproject.toml scripts/setup_venv.sh
	@scripts/setup_venv.sh

demo: .venv/.installed  ## Squeeze the bundled agent, in a few minutes.
	$(BIN)/squeezerl inspect demo
	$(BIN)/squeezerl squeeze demo --env HalfCheetah-v5 --budget 2m --output $(DEMO_OUT) --force
	$(BIN)/python scripts/demo_times.py $(DEMO_OUT)
	@echo; echo "Look at $(DEMO_OUT)/report.html; run it again with:"
	@echo "  $(BIN)/squeezerl evaluate $(DEMO_OUT) --env HalfCheetah-v5 --against demo"

# One process more than there are cores, since many tests wait for processes of their own.
test: .venv/.installed  ## The suite, on all cores.
	@scripts/install_test_tools.sh
	$(BIN)/pytest -n $$(($$(nproc) + 1)) --dist worksteal

quick: .venv/.installed  ## The fast tests, for the inner loop.
	$(BIN)/pytest -n auto -m "not slow"

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed
	$(BIN)/mypy

imports: .venv/.installed  ## The rules of the house: who may import whom.
	$(BIN)/lint-imports

docs: .venv/.installed  ## The documentation as a site, in build/site; a link to nowhere is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "Look at build/site/index.html, or with the search: $(BIN)/python -m http.server -d build/site"

bench: .venv/.installed
	$(BIN)/python benchmarks/evaluation_throughput.py
	$(BIN)/python benchmarks/latency.py

results: .venv/.installed  ## What README and docs show, with the host's facts.
	$(BIN)/squeezerl squeeze demo --env HalfCheetah-v5 --output out/results --force
	@mkdir -p results/demo
	rm -rf results/demo/figures
	cp -r out/results/report.md out/results/results.json out/results/pareto.png out/results/figures \
		out/results/replay.mp4 out/results/replay.jpg results/demo/
	$(BIN)/python scripts/replay_gif.py results/demo

compression-results: .venv/.installed  ## The figures of docs/what-compression-buys.md; 15 minutes, the first 6 alone.
	@mkdir -p results/compression
	$(BIN)/python benchmarks/latency.py --agents --rounds 3 --watts-per-core 4.4 \
		> results/compression/figures.json
	$(BIN)/python benchmarks/native_returns.py > results/compression/returns.json
	$(BIN)/python scripts/compression_page.py

profile-results: .venv/.installed  ## What docs say of latency, memory and energy; an hour, alone.
	$(BIN)/python benchmarks/profile_agents.py --output results/profile --seconds 1.5 --precision 0.1 \
		--watts-per-core 4.4

assistant-results: .venv/.installed  ## How well the assistant finds answers; a minute.
	@mkdir -p out results/assistant
	XDG_CACHE_HOME=$$(mktemp -d) $(BIN)/python benchmarks/assistant.py > out/minilm.json
	$(BIN)/python benchmarks/assistant.py --embeddings none > out/none.json
	mv out/minilm.json out/none.json results/assistant/

research-variances: .venv/.installed  ## How much returns vary, from committed results; seconds.
	$(BIN)/python scripts/research_variances.py

study-results: .venv/.installed  ## What docs say of how studies scale; minutes, alone.
	@scripts/install_test_tools.sh
	@mkdir -p results/studies
	$(BIN)/python benchmarks/study_overhead.py > results/studies/overhead-sqlite.json
	$(BIN)/python benchmarks/study_overhead.py --server > results/studies/overhead-postgresql.json
	$(BIN)/python benchmarks/ray_scaling.py > results/studies/ray-scaling.json

published-results: .venv/.installed  ## A study of the agents in ../shared/agents; minutes, alone.
	@mkdir -p results/studies
	$(BIN)/python benchmarks/study_against_sb3.py studies/published.yaml --folder out/published \
		> results/studies/published-against-sb3.json
	$(BIN)/squeezerl study report published --store sqlite:///out/published/study.db \
		--output results/published --force
	@$(call slim,results/published)

low-bits-results: .venv/.installed  ## The figures of docs/what-compression-costs.md; 20 minutes, goes on.
	@mkdir -p out
	$(BIN)/squeezerl study run studies/low-bits.yaml --store sqlite:///out/low-bits.db \
		--artifacts out/low-bits-artifacts
	$(BIN)/squeezerl study report low-bits --store sqlite:///out/low-bits.db --output results/low-bits --force
	@$(call slim,results/low-bits)

matched-bytes-results: .venv/.installed  ## The picture of docs/what-compression-costs.md; two hours, goes on.
	@mkdir -p out
	$(BIN)/squeezerl study run studies/matched-bytes.yaml --store sqlite:///out/matched-bytes.db \
		--artifacts out/matched-bytes-artifacts
	$(BIN)/python scripts/matched_bytes_page.py out/matched-bytes.db \
		--output results/matched-bytes

PAPER_STORE := --store sqlite:///out/paper-compressed.db --artifacts out/paper-compressed-artifacts
# One environment after the other, so that each is complete before the next begins.
paper-results: .venv/.installed  ## What compression costs the agents in results/paper; eight hours, goes on.
	@mkdir -p out
	set -e; for env in Hopper HalfCheetah Ant Humanoid HumanoidStandup; do \
		sed -e "s|/\*-v4|/$$env-v4|" -e "s|^name:.*|name: paper-$$env|" \
			studies/paper-compressed.yaml > out/paper-$$env.yaml; \
		$(BIN)/squeezerl study run out/paper-$$env.yaml $(PAPER_STORE); \
	done
	$(BIN)/squeezerl study run studies/paper-compressed.yaml $(PAPER_STORE)
	$(BIN)/squeezerl study report paper-compressed --store sqlite:///out/paper-compressed.db \
		--output results/paper/compressed --force
	@$(call slim,results/paper/compressed)
	$(BIN)/python scripts/paper_page.py out/paper-compressed.db --output results/paper

paper-agents: .venv/.installed  ## Train the study's agents and keep them; hours, at low priority, goes on.
	for part in 1/2 2/2; do \
		OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python scripts/train_and_keep.py \
			studies/paper-trained.yaml --output results/paper/agents --part $$part & \
	done; wait

GO2 ?= ../shared/robots
go2-results: .venv/.installed  ## A walking robot's policy, squeezed twice and played; half an hour, alone.
	GO2_XML=$(GO2)/go2.xml $(BIN)/python -m examples.go2.figures $(GO2)/go2-robot_lab.pt

clean:
	rm -rf .venv out build dist
