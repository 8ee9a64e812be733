/*
 * config.json, "vm" (config-vm.md). `kernel` may be left out, though the specification asks for it:
 * the kernel is then the configured default, so that a bundle can size its VM without naming one.
 */
#include "lib/spec_internal.h"
#include "lib/str.h"

#include <errno.h>

static const struct spec_enum image_formats[] = {
    {"raw", 0}, {"qcow2", 0}, {"vdi", 0}, {"vmdk", 0}, {"vhd", 0}, {NULL, 0},
};

static int fill_hypervisor(const json_t *vm_obj, struct spec_vm *vm, struct err *e)
{
    const char *where = "vm.hypervisor";
    json_t *obj;
    int r = json_get_obj(vm_obj, "vm", "hypervisor", &obj, e);

    if (r <= 0)
        return r;
    r = spec_need(spec_get_path(obj, where, "path", &vm->hypervisor_path, e), where, "path", e);
    if (r >= 0)
        r = spec_get_strings(obj, where, "parameters", SPEC_VM_PARAMS_MAX,
                             &vm->hypervisor_parameters, e);
    return r;
}

static int fill_kernel(const json_t *vm_obj, struct spec_vm *vm, struct err *e)
{
    const char *where = "vm.kernel";
    json_t *obj;
    int r = json_get_obj(vm_obj, "vm", "kernel", &obj, e);

    if (r <= 0)
        return r;
    r = spec_need(spec_get_path(obj, where, "path", &vm->kernel_path, e), where, "path", e);
    if (r >= 0)
        r = spec_get_path(obj, where, "initrd", &vm->kernel_initrd, e);
    if (r >= 0)
        r = spec_get_strings(obj, where, "parameters", SPEC_VM_PARAMS_MAX, &vm->kernel_parameters,
                             e);
    return r;
}

static int fill_image(const json_t *vm_obj, struct spec_vm *vm, struct err *e)
{
    const char *where = "vm.image";
    json_t *obj;
    int any, r = json_get_obj(vm_obj, "vm", "image", &obj, e);

    if (r <= 0)
        return r;
    r = spec_need(spec_get_path(obj, where, "path", &vm->image_path, e), where, "path", e);
    if (r >= 0)
        r = spec_need(spec_get_enum(obj, where, "format", image_formats, &any, e), where, "format",
                      e);
    if (r >= 0)
        r = spec_get_string(obj, where, "format", &vm->image_format, e);
    return r;
}

static int fill_hardware(const json_t *vm_obj, struct spec_vm *vm, struct err *e)
{
    static const char *const others[] = {"deviceTree", "dtdevs", "iomems", "irqs"};
    const char *where = "vm.hwConfig";
    json_t *obj;
    int r = json_get_obj(vm_obj, "vm", "hwConfig", &obj, e);

    if (r <= 0)
        return r;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (json_object_get(obj, others[i]) && !json_is_null(json_object_get(obj, others[i])))
            vm->hw_devices = true;
    r = spec_get_opt_u64(obj, where, "vcpus", UINT32_MAX, &vm->hw_vcpus, e);
    if (r >= 0)
        r = spec_get_opt_u64(obj, where, "memory", UINT64_MAX, &vm->hw_memory, e);
    if (r >= 0 && vm->hw_vcpus.set && vm->hw_vcpus.v == 0)
        r = err_set(e, EINVAL, "%s.vcpus must not be 0", where);
    if (r >= 0 && vm->hw_memory.set && vm->hw_memory.v == 0)
        r = err_set(e, EINVAL, "%s.memory must not be 0", where);
    return r;
}

int spec_fill_vm(const json_t *doc, struct spec_vm *vm, struct err *e)
{
    json_t *obj;
    int r = json_get_obj(doc, "", "vm", &obj, e);

    if (r <= 0)
        return r;
    vm->present = true;
    r = fill_hypervisor(obj, vm, e);
    if (r >= 0)
        r = fill_kernel(obj, vm, e);
    if (r >= 0)
        r = fill_image(obj, vm, e);
    if (r >= 0)
        r = fill_hardware(obj, vm, e);
    return r;
}

void spec_vm_done(struct spec_vm *vm)
{
    free(vm->hypervisor_path);
    strv_free(vm->hypervisor_parameters);
    free(vm->kernel_path);
    free(vm->kernel_initrd);
    strv_free(vm->kernel_parameters);
    free(vm->image_path);
    free(vm->image_format);
}
