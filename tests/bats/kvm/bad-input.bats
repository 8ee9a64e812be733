#!/usr/bin/env bats
# Bad input on a machine with KVM: one clear error, and nothing left behind.

load ../helper

setup() {
    make_work
    make_bundle
    args true
}

refused() { # TEXT: create fails with it, writes no pid-file, leaves nothing
    run bh create --bundle "$BUNDLE" --pid-file "$WORK/pid" c1
    fails_with 1 "$1"
    [ ! -e "$WORK/pid" ]
    leftovers
}

@test "args[0] that does not exist or cannot be executed" {
    args no-such-command
    refused 'exec: \"no-such-command\": executable file not found in $PATH'
    args /no/such/file
    refused 'exec: \"/no/such/file\": stat /no/such/file: no such file or directory'
    args /etc/passwd
    refused 'permission denied'
}

@test "kernel missing, or no ELF file" {
    edit '.vm.kernel.path = "/no/such/kernel"'
    refused "/no/such/kernel"
    edit '.vm.kernel.path = "/etc/passwd"'
    refused "not an ELF"
    head -c 4000000 "$BULKHEAD_BUILD/vmlinux" >"$WORK/cut"
    edit ".vm.kernel.path = \"$WORK/cut\""
    refused "the kernel file is cut short"
}

@test "an initrd with nothing in it, or whose init powers the guest off" {
    edit ".vm = {kernel: {path: \"$BULKHEAD_BUILD/vmlinux\", initrd: \"$WORK/initrd\", parameters: [\"loglevel=1\",
        \"panic=-1\", \"earlyprintk=serial,0x3f8,keep\", \"TEST=poweroff\"]}}"
    : >"$WORK/initrd"
    refused "initrd is not a regular file with something in it"
    mkdir "$WORK/root"
    cc -O2 -static -o "$WORK/root/init" "$CHECKOUT/tests/fixtures/vmm-init.c"
    (cd "$WORK/root" && echo init | cpio -o -H newc --quiet >"$WORK/initrd")
    refused "the guest has powered off; the guest's last words: "
    [[ $output == *"reboot: System halted"* ]]
}

@test "too little memory for the kernel" {
    edit '.annotations["dev.bulkhead.memory"] = "8"'
    refused "dev.bulkhead.memory must be 32 MiB to"
    # the least that may be asked for is too little for this kernel
    edit '.annotations["dev.bulkhead.memory"] = "32"'
    refused "the VM has 32 MiB: give it more memory"
}

@test "an id in use" {
    args sleep 1000
    create_container c1
    run bh create --bundle "$BUNDLE" c1
    fails_with 1 "container with given ID already exists: c1"
    [ "$(status_of c1)" = created ]
    bh delete --force c1
}

@test "/dev/kvm absent, or forbidden" {
    # in a mount namespace of its own, so that nobody else misses it
    run unshare -m bash -c "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && '$BULKHEAD' --root '$ROOT' create --bundle '$BUNDLE' c1"
    fails_with 1 "/dev/kvm"
    leftovers
    # root, to whom only a mount or a device rule forbids anything
    run unshare -m bash -c "mkdir '$WORK/dev' && mount -t tmpfs -o nodev none '$WORK/dev' && mknod '$WORK/dev/kvm' c 10 232 &&
        mount --bind '$WORK/dev/kvm' /dev/kvm && '$BULKHEAD' --root '$ROOT' create --bundle '$BUNDLE' c1"
    fails_with 1 "/dev/kvm: permission denied, though this is root"
}

@test "a program of ours that is not there is named, with where it is configured" {
    for key in vmm fs shim; do
        jq --arg key $key '.[$key] = "/no/such/program"' "$BULKHEAD_BUILD/bulkhead.json" >"$WORK/bulkhead.json"
        run bh --config "$WORK/bulkhead.json" create --bundle "$BUNDLE" c1
        fails_with 1 "bulkhead-$key, /no/such/program: No such file or directory (make install puts it there; \\\"$key\\\" in bulkhead.json names it)"
        leftovers
    done
}

@test "a kernel that panics at once: create fails with its last words" {
    edit '.annotations["dev.bulkhead.kernel-parameters"] = "init=/nonexistent rdinit=/nonexistent"'
    refused "panic"
}
