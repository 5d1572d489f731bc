# make, or make build: both programs for this machine, into dist/
# make release: the same, stripped, for each device
# make check: everything that must hold before a change is shared

# What a release is built with; agent/deps_test.go reads this line, builds with the same and checks the size. Inlining is off
# but in the packages on the data's way, and HTTP/2, which nothing here speaks, is left out: docs/decisions/0002-binary-size.md.
RELEASE_FLAGS = -trimpath -tags=nethttpomithttp2 -ldflags=-s -gcflags=all=-l -gcflags=obdagent/obd= -gcflags=obdagent/gps= -gcflags=obdagent/buffer= -gcflags=obdagent/agent/fusion= -gcflags=obdagent/agent/record=
RELEASE_ARCHES = amd64 arm64 arm

# A device's binary runs on any libc, also on none.
export CGO_ENABLED = 0

BENCH = .
COUNT = 1
DAYS = 40
STATES = 100000
DISK_STATES = 5000

# What the packages say of themselves. Two builds of one commit are the same, byte by byte.
NFPM = go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
VERSION ?= 0.0.0~git$(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y%m%d%H%M%S).$(shell git rev-parse --short=8 HEAD)
NFPM_CONFIG = deploy/package/nfpm.yaml
IPK_ARCH_amd64 = x86_64
IPK_ARCH_arm64 = aarch64_generic
IPK_ARCH_arm = arm_cortex-a7

.PHONY: build release packages board lifecycle vm check lint cross test kills bench bench-run bench-flash freeze bench-buffer bench-report long crash crash-mutants demo clean
build:
	go build -o dist/ ./cmd/...

release: $(RELEASE_ARCHES:%=release-%)
release-%:
	GOOS=linux GOARCH=$* go build $(RELEASE_FLAGS) -o dist/linux-$*/ ./cmd/...

check: lint release test demo

lint:
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "run gofmt -w on:" $$unformatted; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	cd buffer/crash && go vet ./...
	cd buffer/bench && go vet ./...

# All tests as 32-bit programs, on the processor where it takes them, else under qemu-user: .ci/cross says how, and with which. As on a
# board: without cgo, so without the race detector. TESTS=./buffer/... chooses.
TESTS = ./...
cross: cross-386 cross-arm
cross-%:
	.ci/cross $* $(TESTS)

# The race detector needs cgo. The rig of the power cuts is a module of its own.
test:
	CGO_ENABLED=1 go test -race ./...
	cd buffer/crash && go test ./...

# The daemon is killed 200 times: three minutes.
kills:
	OBDAGENT_TEST_KILLS=200 go test -count=1 -v -timeout=30m -run=TestKilledAtAnyMoment ./cmd/obdagent

bench:
	go test -run='^$$' -bench='$(BENCH)' -count=$(COUNT) ./...

# The daemon itself: a minute at 1 Hz, a minute parked, and from its start to its first records.
bench-run:
	go test -run='^$$' -bench=BenchmarkRun -benchtime=1x -count=$(COUNT) ./agent

# What the daemon writes to a flash in FLASH, driving and parked, on an ext4 of its own each: as root, with mkfs.ext4.
FLASH = 1h
bench-flash:
	OBDAGENT_TEST_REQUIRE=losetup,mkfs.ext4 OBDAGENT_TEST_FLASH=$(FLASH) go test -count=1 -v -timeout=25h -run='^TestFlash$$' ./agent

# The daemon on a disk that hangs for two minutes: as root, with mkfs.ext4 and fsfreeze.
freeze:
	OBDAGENT_TEST_REQUIRE=losetup,mkfs.ext4,fsfreeze OBDAGENT_TEST_FREEZE=1 go test -count=1 -v -timeout=30m -run='^TestAFrozenDiskIsAState$$' ./agent

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

# STATES power cuts of the buffer on a file system in memory, then DISK_STATES on an ext4 whose every write is recorded: as root, with
# /dev/fuse, /dev/loop-control and mkfs.ext4. A failure prints its seed: OBDAGENT_TEST_SEED, or ARGS="-seed N -run N", replays it.
# ARGS=-help says what can be chosen.
crash:
	OBDAGENT_TEST_STATES=$(STATES) go test -count=1 -timeout=2h -v -run='^TestPowerCuts$$' ./buffer
	cd buffer/crash && go run . -states $(DISK_STATES) $(ARGS)

# Buffers with a sync or a check left out, on that ext4: each has to be found.
crash-mutants:
	cd buffer/crash && go run . -mutants -states 2000 $(ARGS)

# .deb, .rpm and .ipk for each device, into dist/. Needs what make release needs, and nothing else.
packages: $(RELEASE_ARCHES:%=packages-%)
packages-%: release-% dist/package/changelog.yaml
	@for format in deb rpm ipk; do \
		arch=$(patsubst arm,arm7,$*); [ $$format != ipk ] || arch=$(IPK_ARCH_$*); \
		BUILD=$* VERSION='$(VERSION)' ARCH=$$arch $(NFPM) package -f $(NFPM_CONFIG) -p $$format -t dist/ || exit 1; \
	done

# The unit, its sandbox, a seed, install and uninstall on this machine's Debian, booted in a container. As root, with systemd-container.
board:
	OBDAGENT_TEST_REQUIRE=nspawn OBDAGENT_TEST_BOARD=1 go test -count=1 -timeout=8m -v -run='^TestOnABoard$$|^TestABoardEnds' ./deploy

# The life of each package on a system that is booted for it: installed, updated, disabled, removed, installed again, purged; and what
# Debian's own judges say of the .deb. The newer version brings another configuration. As root, with systemd-container, rpm, busybox,
# lintian, piuparts and mmdebstrap; the output goes into docs/packages.md.
LIFE = dist/lifecycle
lifecycle:
	rm -rf $(LIFE)
	mkdir -p $(LIFE)
	$(MAKE) -s packages-amd64 VERSION=0.0.1
	{ cat deploy/obdagent.toml && echo "# The newer version's."; } >$(LIFE)/obdagent.toml
	{ cat dist/package/openwrt.toml && echo "# The newer version's."; } >$(LIFE)/openwrt.toml
	sed -e 's|src: deploy/obdagent.toml|src: $(LIFE)/obdagent.toml|' -e 's|src: dist/package/openwrt.toml|src: $(LIFE)/openwrt.toml|' deploy/package/nfpm.yaml >$(LIFE)/nfpm.yaml
	$(MAKE) -s packages-amd64 VERSION=0.0.2 NFPM_CONFIG=$(LIFE)/nfpm.yaml
	mv dist/obdagent[_-]0.0.[12]-1[_.]*.* $(LIFE)/
	OBDAGENT_TEST_REQUIRE=nspawn,rpm,busybox \
	OBDAGENT_TEST_DEBS=$(CURDIR)/$(LIFE)/obdagent_0.0.1-1_amd64.deb,$(CURDIR)/$(LIFE)/obdagent_0.0.2-1_amd64.deb \
	OBDAGENT_TEST_RPMS=$(CURDIR)/$(LIFE)/obdagent-0.0.1-1.x86_64.rpm,$(CURDIR)/$(LIFE)/obdagent-0.0.2-1.x86_64.rpm \
	OBDAGENT_TEST_IPKS=$(CURDIR)/$(LIFE)/obdagent_0.0.1-1_x86_64.ipk,$(CURDIR)/$(LIFE)/obdagent_0.0.2-1_x86_64.ipk \
		go test -count=1 -timeout=30m -v -run=TestTheLifeOfThe ./deploy
	lintian --allow-root --fail-on error,warning $(LIFE)/obdagent_0.0.2-1_amd64.deb
	mmdebstrap --quiet --variant=minbase --include=init-system-helpers bookworm $(LIFE)/chroot.tar.gz "$$(apt-cache policy base-files | grep -oE 'https?://[^ ]+' | head -1)"
	piuparts --basetgz=$(LIFE)/chroot.tar.gz --distribution=bookworm --no-upgrade-test --skip-minimize --warn-on-leftovers-after-purge \
		$(LIFE)/obdagent_0.0.2-1_amd64.deb

# The board itself, emulated: Debian 12 for arm64 in QEMU with the .deb, a simulated adapter and receiver on USB serial chips that are
# pulled out and plugged in, a Firehose with TLS, and CUTS power cuts; the output goes into docs/benchmarks.md. As root, with
# qemu-system-arm and what cmd/obdagent/testdata/vm/base.sh names, which makes the board's disk the first time. A failure prints
# its seed: OBDAGENT_TEST_SEED replays the moments.
CUTS = 10
vm: packages-arm64
	board=$$(sh cmd/obdagent/testdata/vm/base.sh) && tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && trap 'exit 1' HUP INT TERM && \
	TMPDIR=$$tmp OBDAGENT_TEST_REQUIRE=qemu-system-aarch64 OBDAGENT_TEST_VM=$$board OBDAGENT_TEST_VM_CUTS=$(CUTS) \
		OBDAGENT_TEST_VM_DEB='$(CURDIR)/dist/obdagent_$(VERSION)-1_arm64.deb' \
		go test -count=1 -timeout=4h -v -run='^TestTheBoard$$' ./cmd/obdagent

# What a package holds beside the program.
dist/package/changelog.yaml: FORCE
	rm -rf dist/package
	go run -tags docs ./cmd/obdagent dist/package
	find dist/package/share/man -type f -exec gzip -9n {} +
	go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/obdagent | sort -u | while read -r path version dir; do \
		printf '\n==== %s %s\n\n' "$$path" "$$version"; find "$$dir" -maxdepth 1 \( -name 'LICENSE*' -o -name 'NOTICE*' \) | sort | xargs cat; done >dist/package/third-party-licenses
	printf -- '- semver: "%s"\n  date: %s\n  packager: The obdagent authors <maintainers@obdagent.invalid>\n  deb: {urgency: medium, distributions: [stable]}\n  changes:\n    - note: "Built from its own repository; see CHANGELOG.md there."\n' \
		'$(VERSION)' "$$(date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ)" >$@
FORCE:

demo:
	go run ./cmd/obdagent demo --for 15s

clean:
	rm -rf dist
