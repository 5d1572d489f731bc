# make, or make build: both programs for this machine, into dist/
# make release: the same, stripped, for each device
# make check: everything that must hold before a change is shared

# What a release is built with; agent/deps_test.go reads this line, builds with the same and checks the size. Inlining is off
# but in the packages on the data's way: docs/decisions/0002-binary-size.md.
RELEASE_FLAGS = -trimpath -ldflags=-s -gcflags=all=-l -gcflags=obdagent/obd= -gcflags=obdagent/gps= -gcflags=obdagent/buffer= -gcflags=obdagent/agent/fusion= -gcflags=obdagent/agent/record=
RELEASE_ARCHES = amd64 arm64 arm

# A device's binary runs on any libc, also on none.
export CGO_ENABLED = 0

BENCH = .
COUNT = 1
DAYS = 40
STATES = 100000

.PHONY: build release check lint cross test kills bench bench-run bench-buffer bench-report long crash demo clean
build:
	go build -o dist/ ./cmd/...

release: $(RELEASE_ARCHES:%=release-%)
release-%:
	GOOS=linux GOARCH=$* go build $(RELEASE_FLAGS) -o dist/linux-$*/ ./cmd/...

check: lint cross test demo

lint:
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "run gofmt -w on:" $$unformatted; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

# Whether it builds for each device: with the release's flags, so that the size test finds it in the build cache.
cross: release

# The race detector needs cgo.
test:
	CGO_ENABLED=1 go test -race ./...

# The daemon is killed 200 times: three minutes.
kills:
	OBDAGENT_TEST_KILLS=200 go test -count=1 -v -timeout=30m -run=TestKilledAtAnyMoment ./cmd/obdagent

bench:
	go test -run='^$$' -bench='$(BENCH)' -count=$(COUNT) ./...

# The daemon itself at 1 Hz, for a minute.
bench-run:
	go test -run='^$$' -bench=RunAtOneHz -count=$(COUNT) ./agent

# The buffer beside other ways to keep records, on an ext4 of its own: as root, with mkfs.ext4. ARGS=-help says what can be chosen.
ARGS =
bench-buffer:
	cd buffer/bench && go run . $(ARGS)

# The report over a gibibyte of objects in DIR, made there the first time, beside DuckDB: OBDAGENT_TEST_DUCKDB is where npm has
# installed @duckdb/node-api.
DIR = /var/tmp/obdagent-bench
bench-report:
	OBDAGENT_TEST_BENCH_REPORT=$(DIR) go test -count=1 -timeout=1h -v -run='^TestAGibibyte$$' ./cmd/obdfleet

# Forty days without coverage at 10 Hz (DAYS): opened at once, drained in order, memory flat. 2 GB in TMPDIR.
long:
	OBDAGENT_TEST_DAYS=$(DAYS) go test -count=1 -timeout=2h -v -run=FortyDays ./buffer

# STATES power cuts of the buffer. A failure prints its seed: OBDAGENT_TEST_SEED replays it.
crash:
	OBDAGENT_TEST_STATES=$(STATES) go test -count=1 -timeout=2h -v -run='^TestPowerCuts$$' ./buffer

demo:
	go run ./cmd/obdagent demo --for 15s

clean:
	rm -rf dist
