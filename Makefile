# Bulkhead: an OCI runtime that runs every container in its own KVM virtual machine.
# `make help` lists the targets. Variables: BUILD, CC, CFLAGS, PREFIX, DESTDIR, V=1.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

CC ?= gcc
AR ?= ar
PREFIX ?= /usr/local
BUILD ?= build
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(Q),@printf '  %-7s %s\n' $(1) $(2))

# All cores, unless -j was given.
ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc)
endif

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
        -Wwrite-strings -Wundef -Wvla -Werror
CFLAGS ?= -O2 -g
ALL_CFLAGS := -std=gnu11 $(WARN) -D_GNU_SOURCE -I. -fPIE -fstack-protector-strong -ffunction-sections -fdata-sections \
              -MMD -MP $(CFLAGS)
HARDEN := -D_FORTIFY_SOURCE=2
ALL_LDFLAGS := -Wl,-z,relro,-z,now -Wl,--gc-sections -Wl,-z,noexecstack $(LDFLAGS)

# Who may include whom is also how the archives are linked (docs/architecture.md).
LIB_SRC := $(wildcard lib/*.c)
RUNTIME_SRC := $(wildcard runtime/*.c runtime/*/*.c)
VMM_SRC := $(wildcard vmm/*.c vmm/virtio/*.c vmm/virtio/*/*.c vmm/check/*.c vmm/check/*.S)
FS_SRC := $(wildcard vmm/fs/*.c)
AGENT_SRC := $(wildcard agent/*.c)

PROGRAMS := bulkhead bulkhead-vmm bulkhead-fs bulkhead-shim bulkhead-agent
PROGRAM_FILES := $(PROGRAMS:%=$(BUILD)/%)

obj = $(patsubst %,$(BUILD)/obj/%.o,$(basename $(1)))
san = $(patsubst %,$(BUILD)/san/%.o,$(basename $(1)))

# The packages of the emulated KVM host are only for where there is none; the tests look at the emulation itself.
KVM_HOST := $(if $(shell [ -c /dev/kvm ] && { : <>/dev/kvm; } 2>/dev/null && echo usable),,kvm-host)

# --- what people type ------------------------------------------------------------------------------
.PHONY: all programs kernel guest install demo check check-static check-unit check-fuzz check-host check-kvm fuzz bench \
        format clean help
all: programs ## the programs (default)

programs: $(PROGRAM_FILES) $(BUILD)/bulkhead.json

kernel: $(BUILD)/vmlinux ## the guest kernel (cached outside the checkout)

guest: $(BUILD)/vmlinux $(BUILD)/initramfs.cpio ## kernel and initramfs

demo: packages-build packages-kernel packages-bundle $(KVM_HOST:%=packages-%) programs guest ## run a busybox container in a VM, step by step
	$(Q)tests/demo/run $(BUILD)

check: packages-build packages-kernel packages-bundle packages-kvm-host packages-check ## every test; ends with "N passed, N failed, N skipped"
	+$(Q)tests/check $(BUILD) static unit fuzz host kvm

check-static check-unit check-fuzz check-host check-kvm: check-%: packages-build packages-check ## this stage of `make check`
	+$(Q)tests/check $(BUILD) $*

fuzz: packages-build packages-check packages-fuzz ## look for new bugs, FUZZ_SECONDS (30) for each of FUZZ (all there are)
	+$(Q)$(MAKE) --no-print-directory $(WITH_LIBFUZZER) fuzz-programs
	$(Q)tests/fuzz/run $(BUILD)/libfuzzer $(FUZZ_SECONDS) $(FUZZ)

bench: packages-build packages-kernel packages-bundle $(KVM_HOST:%=packages-%) packages-check programs guest ## sizes, counts and times, each beside a peer
	$(Q)tests/bench/run $(BUILD)

format: ## clang-format over all C files
	$(Q)git ls-files --cached --others --exclude-standard '*.c' '*.h' | xargs clang-format -i

clean: ## remove build/ (the kernel cache stays)
	$(Q)rm -rf $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / {n = split($$1, name, " "); for (i = 1; i <= n; i++) printf "  %-14s %s\n", name[i], $$2}' $(MAKEFILE_LIST)

# Debian packages, by group (configs/debian-packages). As root they are installed, else named. One after the other: apt has a lock.
packages-kernel: | packages-build
packages-bundle: | packages-kernel
packages-kvm-host: | packages-bundle
packages-check: | packages-kvm-host
packages-fuzz: | packages-check
.PHONY: packages-build packages-kernel packages-bundle packages-kvm-host packages-check packages-fuzz
# The first, build, takes all that the goals of this call need, so that what is missing is named or installed in one go.
groups-demo := kernel bundle $(KVM_HOST)
groups-check := kernel bundle kvm-host check
groups-fuzz := check fuzz
$(foreach stage,static unit fuzz host kvm,$(eval groups-check-$(stage) := $(groups-check)))
groups-of-goals := $(sort build $(foreach goal,$(MAKECMDGOALS),$(groups-$(goal))))
packages-build packages-kernel packages-bundle packages-kvm-host packages-check packages-fuzz: packages-%:
	$(Q)configs/install-packages $(if $(filter build,$*),$(groups-of-goals),$*)

# The commit, for --version: of this checkout, not of one around it. A tarball has none, and the line is left out.
COMMIT := $(if $(wildcard .git),$(shell git -c safe.directory='$(CURDIR)' describe --always --dirty --exclude='*' --abbrev=12 2>/dev/null))
$(BUILD)/commit: FORCE
	@mkdir -p $(@D) && echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' >$@
$(BUILD)/obj/cmd/bulkhead/main.o: $(BUILD)/commit
$(BUILD)/obj/cmd/bulkhead/main.o: ALL_CFLAGS += $(if $(COMMIT),-DBULKHEAD_COMMIT='"$(COMMIT)"')
.PHONY: FORCE
FORCE:

# --- programs --------------------------------------------------------------------------------------
$(BUILD)/obj/%.o: %.c | packages-build
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) $(HARDEN) -c $< -o $@

# Assembly: the machine code of the guests of bulkhead-vmm --check.
assemble = $(Q)mkdir -p $(@D) && $(CC) -c $< -o $@
$(BUILD)/obj/%.o: %.S | packages-build
	$(call say,AS,$<)
	$(assemble)
$(BUILD)/san/%.o: %.S | packages-build
	$(call say,AS,$<)
	$(assemble)

define archive
$(BUILD)/$(1).a: $(call obj,$(2))
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && $(AR) qcsD $$@ $$^
$(BUILD)/san/$(1).a: $(call san,$(2))
	$$(Q)rm -f $$@ && $(AR) qcsD $$@ $$^
endef
$(eval $(call archive,lib,$(LIB_SRC)))
$(eval $(call archive,runtime,$(RUNTIME_SRC)))
$(eval $(call archive,vmm,$(VMM_SRC)))
$(eval $(call archive,fs,$(FS_SRC)))
$(eval $(call archive,agent,$(AGENT_SRC)))

# link FLAGS,LIBRARIES
define link
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $(1) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(2)
endef

$(BUILD)/bulkhead: $(call obj,$(wildcard cmd/bulkhead/*.c)) $(BUILD)/runtime.a $(BUILD)/lib.a
	$(call link,-pie,-ljansson -lseccomp)
$(BUILD)/bulkhead-vmm: $(call obj,cmd/vmm/main.c) $(BUILD)/vmm.a $(BUILD)/lib.a
	$(call link,-pie,-lseccomp -lcap-ng -lpthread)
$(BUILD)/bulkhead-fs: $(call obj,cmd/fs/main.c) $(BUILD)/fs.a $(BUILD)/lib.a
	$(call link,-pie,-lseccomp -lcap-ng)
# The agent is static: it is alone in the initramfs.
$(BUILD)/bulkhead-agent: $(call obj,cmd/agent/main.c) $(BUILD)/agent.a $(BUILD)/lib.a
	$(call link,-static -s,-ljansson -lcap-ng)

# The shim is static, since it has the container's tree as its root, and there is one for each process:
# musl makes it a fifteenth of the size. The kernel's headers come after musl's own. Without musl-gcc
# (looked for late, packages-build may just have installed it) the same sources are linked against glibc.
MUSL = $(shell command -v musl-gcc)
SHIM_CC = $(if $(MUSL),$(MUSL) -idirafter /usr/include -idirafter /usr/include/$(shell $(CC) -print-multiarch),$(CC))
SHIM_OBJ := $(patsubst %.c,$(BUILD)/shim/%.o,cmd/shim/main.c $(wildcard runtime/shim/*.c))
$(SHIM_OBJ): $(BUILD)/shim/%.o: %.c | packages-build
	@mkdir -p $(@D)
	$(call say,CC-SHIM,$<)
	$(Q)$(SHIM_CC) $(ALL_CFLAGS) -fno-pie -c $< -o $@
$(BUILD)/bulkhead-shim: $(SHIM_OBJ)
	$(call say,LD,$@)
	$(Q)$(SHIM_CC) $(ALL_LDFLAGS) -static -no-pie -s -o $@ $^

# The build tree is an installation of its own: the runtime finds programs and guest beside itself.
$(BUILD)/bulkhead.json: configs/bulkhead.json
	$(Q)mkdir -p $(@D) && cp $< $@

# --- guest -----------------------------------------------------------------------------------------
$(BUILD)/vmlinux: configs/guest-kernel.config rootfs/build-kernel | packages-build packages-kernel
	$(Q)mkdir -p $(@D) && path=$$(rootfs/build-kernel | tail -n 1) && cp "$$path" $@.new && mv -f $@.new $@

$(BUILD)/initramfs.cpio: $(BUILD)/bulkhead-agent rootfs/make-initramfs | packages-kernel
	$(Q)rootfs/make-initramfs $< $@

# --- installing ------------------------------------------------------------------------------------
install: programs guest ## into DESTDIR and PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(LIBEXEC) $(DATA)
	install -m 0755 $(BUILD)/bulkhead $(DESTDIR)$(PREFIX)/bin/
	install -m 0755 $(BUILD)/bulkhead-vmm $(BUILD)/bulkhead-fs $(BUILD)/bulkhead-shim $(LIBEXEC)/
	install -m 0644 $(BUILD)/vmlinux $(BUILD)/initramfs.cpio configs/bulkhead.json $(DATA)/
	install -D -m 0644 configs/bash-completion $(DESTDIR)$(PREFIX)/share/bash-completion/completions/bulkhead
	install -D -m 0644 docs/bulkhead.8 $(DESTDIR)$(PREFIX)/share/man/man8/bulkhead.8

LIBEXEC = $(DESTDIR)$(PREFIX)/libexec/bulkhead
DATA = $(DESTDIR)$(PREFIX)/share/bulkhead

# --- unit tests (tests/check runs them) ------------------------------------------------------------
SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
$(BUILD)/san/%.o: %.c | packages-build
	@mkdir -p $(@D)
	$(call say,CC-SAN,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -O1 $(SAN) -DBULKHEAD_TEST -c $< -o $@

UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
SAN_ARCHIVES := $(patsubst %,$(BUILD)/san/%.a,runtime vmm fs agent lib)
SAN_LIBS := -lcmocka -ljansson -lseccomp -lcap-ng -lpthread
$(BUILD)/unit/%: $(BUILD)/san/tests/unit/%.o $(SAN_ARCHIVES)
	@mkdir -p $(@D)
	$(call link,$(SAN),$(SAN_LIBS))
$(filter $(BUILD)/unit/test_shim_% $(BUILD)/unit/test_exec $(BUILD)/unit/test_create,$(UNIT)): | $(BUILD)/bulkhead-shim
.SECONDARY: $(patsubst %.c,$(BUILD)/san/%.o,$(wildcard tests/unit/*.c))

.PHONY: unit-programs
unit-programs: $(UNIT)

# --- fuzzing (docs/testing.md) ---------------------------------------------------------------------
# A target is one file. `make check` links it with a main that replays its corpus; `make fuzz` builds all once more,
# elsewhere, with clang (whose warnings are clang-tidy's affair), and links libFuzzer in that main's place.
FUZZ_SECONDS ?= 30
FUZZ ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_MAIN := $(BUILD)/san/tests/fuzz/replay.o
FUZZ_LINK := $(SAN)
WITH_LIBFUZZER = BUILD=$(BUILD)/libfuzzer CC=clang-14 WARN=-w FUZZ_MAIN= SAN='$(SAN) -fsanitize=fuzzer-no-link' \
                 FUZZ_LINK='$(SAN) -fsanitize=fuzzer'
$(BUILD)/fuzz/%: $(BUILD)/san/tests/fuzz/%.o $(FUZZ_MAIN) $(SAN_ARCHIVES)
	@mkdir -p $(@D)
	$(call link,$(FUZZ_LINK) $(FUZZ_WRAP),$(SAN_LIBS))
# The agent makes no container: its children and cgroups are played.
comma := ,
$(BUILD)/fuzz/fuzz_agent: FUZZ_WRAP := $(addprefix -Wl$(comma)--wrap=,clone_process devfilter_attach cgroup_make cgroup_remove)
.SECONDARY: $(patsubst %.c,$(BUILD)/san/%.o,$(wildcard tests/fuzz/*.c))

.PHONY: fuzz-programs
fuzz-programs: $(FUZZ:%=$(BUILD)/fuzz/fuzz_%)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
