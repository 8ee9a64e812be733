# Bulkhead: an OCI runtime that runs every container in its own KVM virtual machine.
# `make help` lists the targets.

SHELL := /bin/bash
.DELETE_ON_ERROR:

CC ?= gcc
AR ?= ar
PREFIX ?= /usr/local
BUILD ?= build
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

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
VMM_SRC := $(wildcard vmm/*.c vmm/virtio/*.c vmm/virtio/*/*.c)
FS_SRC := $(wildcard vmm/fs/*.c)
AGENT_SRC := $(wildcard agent/*.c)

PROGRAMS := bulkhead bulkhead-vmm bulkhead-fs bulkhead-shim bulkhead-agent
PROGRAM_FILES := $(PROGRAMS:%=$(BUILD)/%)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
san = $(patsubst %.c,$(BUILD)/san/%.o,$(1))

.PHONY: all help
all: $(PROGRAM_FILES)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC      $<")
	$(Q)$(CC) $(ALL_CFLAGS) $(HARDEN) -c $< -o $@

define archive
$(BUILD)/$(1).a: $(call obj,$(2))
	$$(if $$(Q),@echo "  AR      $$@")
	$$(Q)rm -f $$@ && $(AR) rcsD $$@ $$^
$(BUILD)/san/$(1).a: $(call san,$(2))
	$$(Q)rm -f $$@ && $(AR) rcsD $$@ $$^
endef
$(eval $(call archive,lib,$(LIB_SRC)))
$(eval $(call archive,runtime,$(RUNTIME_SRC)))
$(eval $(call archive,vmm,$(VMM_SRC)))
$(eval $(call archive,fs,$(FS_SRC)))
$(eval $(call archive,agent,$(AGENT_SRC)))

define link
	$(if $(Q),@echo "  LD      $@")
	$(Q)$(CC) $(ALL_LDFLAGS) $(1) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(2)
endef

$(BUILD)/bulkhead: $(call obj,$(wildcard cmd/bulkhead/*.c)) $(BUILD)/runtime.a $(BUILD)/lib.a
	$(call link,-pie,-ljansson -lseccomp -lcap-ng -lmnl)
$(BUILD)/bulkhead-vmm: $(call obj,cmd/vmm/main.c) $(BUILD)/vmm.a $(BUILD)/lib.a
	$(call link,-pie,-lseccomp -lcap-ng -lpthread)
$(BUILD)/bulkhead-fs: $(call obj,cmd/fs/main.c) $(BUILD)/fs.a $(BUILD)/lib.a
	$(call link,-pie,-lseccomp -lcap-ng)
# Static: the shim runs with the container's tree as its root, the agent alone in the initramfs.
$(BUILD)/bulkhead-shim: $(call obj,cmd/shim/main.c) $(BUILD)/runtime.a $(BUILD)/lib.a
	$(call link,-static,-lseccomp -lcap-ng)
$(BUILD)/bulkhead-agent: $(call obj,cmd/agent/main.c) $(BUILD)/agent.a $(BUILD)/lib.a
	$(call link,-static -s,-ljansson -lcap-ng)

# --- tests ---------------------------------------------------------------------------------------
SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
$(BUILD)/san/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC san  $<")
	$(Q)$(CC) $(ALL_CFLAGS) -O1 $(SAN) -DBULKHEAD_TEST -c $< -o $@

UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))
$(BUILD)/unit/%: $(BUILD)/san/tests/unit/%.o $(BUILD)/san/runtime.a $(BUILD)/san/vmm.a $(BUILD)/san/fs.a $(BUILD)/san/agent.a $(BUILD)/san/lib.a
	@mkdir -p $(@D)
	$(call link,$(SAN),-lcmocka -ljansson -lseccomp -lcap-ng -lmnl -lpthread)
.PRECIOUS: $(BUILD)/san/tests/unit/%.o

.PHONY: unit
unit: $(UNIT)
	$(Q)tests/run-unit $(UNIT)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
