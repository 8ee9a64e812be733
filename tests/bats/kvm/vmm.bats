#!/usr/bin/env bats
# bulkhead-vmm from its own command line: real VMs of every shape, with an init made for it.

# Each test is a subshell of its own, and so are its variables.
# shellcheck disable=SC2030,SC2031
load ../helper

setup_file() {
    export FIXTURES=$BATS_FILE_TMPDIR
    mkdir "$FIXTURES/root"
    cc -O2 -static -o "$FIXTURES/root/init" "$CHECKOUT/tests/fixtures/vmm-init.c"
    cc -O2 -I "$CHECKOUT" -o "$FIXTURES/control" "$CHECKOUT/tests/fixtures/vmm-control.c"
    (cd "$FIXTURES/root" && echo init | cpio -o -H newc --quiet >"$FIXTURES/initrd")
}

setup() {
    make_work
    KERNEL=$BULKHEAD_BUILD/vmlinux
    VM=
    cpus=0 memory=0 year=0
}

clean_up() {
    [ -z "$VM" ] || kill -KILL "$VM" 2>/dev/null || true
    rm -rf "$WORK"
}

WORDS='loglevel=1 reboot=t panic=-1'
CONSOLE='console=ttyS0 8250.nr_uarts=1'

# vmm OPTION...: boots and waits
vmm() {
    "$BULKHEAD_BUILD/bulkhead-vmm" --kernel "$KERNEL" --initrd "$FIXTURES/initrd" "$@" </dev/null
}

# start_vmm OPTION...: in the background, output in $WORK/out and $WORK/err, pid in $VM
start_vmm() {
    "$BULKHEAD_BUILD/bulkhead-vmm" --kernel "$KERNEL" --initrd "$FIXTURES/initrd" "$@" \
        </dev/null >"$WORK/out" 2>"$WORK/err" &
    VM=$!
}

# facts OPTION...: the guest's own view, in $cpus $memory $year
facts() {
    local line
    line=$(vmm --serial --cmdline "$WORDS $CONSOLE TEST=facts" "$@" | grep -ao 'cpus=.*' | tr -d '\r')
    echo "facts: $line"
    eval "$line"
}

@test "1 vCPU: memory, time of day, an orderly end" {
    facts
    [ "$cpus" -eq 1 ]
    [ "$memory" -gt 200 ]
    [ "$memory" -le 256 ]
    [ "$year" -eq "$(date +%Y)" ]
}

@test "2 vCPUs and 32, the most, are all there; 33 are refused" {
    facts --cpus 2
    [ "$cpus" -eq 2 ]
    facts --cpus 32 --memory 64M
    [ "$cpus" -eq 32 ]
    [ "$memory" -le 64 ]
    run vmm --cpus 33
    [ "$status" -eq 2 ]
    [[ $output == *"--cpus wants a number up to 32, got 33"* ]]
}

@test "memory above the hole below 4 GiB" {
    facts --memory 4G
    [ "$memory" -gt 3900 ]
}

# The budget is in the design: 150 exits from power-on to init. Here each part has its share.
@test "an ordinary boot does not exit: 8 without a device, 25 more for each" {
    run vmm --debug --cmdline "$WORDS TEST=none"
    [ "$status" -eq 0 ]
    bare=$(grep -o 'exits [0-9]*' <<<"$output" | cut -d' ' -f2)
    echo "bare: $bare"
    [ "$bare" -le 8 ]
    truncate -s 1M "$WORK/disk"
    run vmm --debug --rng --disk "$WORK/disk" --cmdline "$WORDS TEST=none"
    [ "$status" -eq 0 ]
    two=$(grep -o 'exits [0-9]*' <<<"$output" | cut -d' ' -f2)
    echo "two devices: $two"
    [ "$two" -le $((bare + 50)) ]
}

@test "what a boot with 256 MiB touches of them: at most 23 MiB" {
    run vmm --debug --memory 256M --cmdline "$WORDS TEST=none"
    [ "$status" -eq 0 ]
    touched=$(grep -o '[0-9]* KiB of guest RAM touched' <<<"$output" | cut -d' ' -f1)
    echo "touched: $touched KiB"
    [ "$touched" -le $((23 * 1024)) ]
}

@test "a disk is read and written; read-only is read-only" {
    { printf 'sector one'; head -c 502 /dev/zero; head -c 512 /dev/zero; } >"$WORK/disk"
    run vmm --serial --disk "$WORK/disk" --cmdline "$WORDS $CONSOLE TEST=disk"
    [[ $output == *"disk ok"* ]]
    cmp -n 512 "$WORK/disk" "$WORK/disk" 0 512
    cp "$WORK/disk" "$WORK/before"
    run vmm --serial --disk "$WORK/disk,ro" --cmdline "$WORDS $CONSOLE TEST=disk"
    [[ $output == *"disk: "* ]]
    cmp "$WORK/disk" "$WORK/before"
}

@test "random numbers, more than come without a rest" {
    run vmm --serial --rng --cmdline "$WORDS $CONSOLE TEST=rng"
    [[ $output == *"rng ok"* ]]
}

@test "the serial port in both directions" {
    mkfifo "$WORK/in"
    "$BULKHEAD_BUILD/bulkhead-vmm" --serial --kernel "$KERNEL" --initrd "$FIXTURES/initrd" \
        --cmdline "$WORDS $CONSOLE TEST=echo" <"$WORK/in" >"$WORK/out" 2>"$WORK/err" &
    VM=$!
    exec 7>"$WORK/in"
    wait_text "$WORK/out" ready
    text=$(head -c 100 /dev/zero | tr '\0' x)
    echo "$text" >&7
    wait_text "$WORK/out" "echo: $text"
    echo quit >&7
    wait "$VM"
    exec 7>&-
}

@test "a guest that powers off ends the VM; one that sleeps does not" {
    for n in 1 2; do
        run vmm --cpus $n --cmdline "$WORDS earlyprintk=serial,0x3f8,keep TEST=poweroff"
        [ "$status" -eq 0 ]
        [[ $output == *"reboot: System halted"*"the guest has powered off"* ]]
    done
    start_vmm --serial --debug --cpus 2 --cmdline "$WORDS $CONSOLE TEST=sleep"
    wait_text "$WORK/out" asleep
    wait_text "$WORK/err" "the guest has not powered off"
    kill -0 "$VM"
    kill "$VM"
    wait "$VM"
}

@test "a panic's last words reach the console, and the VM ends" {
    run vmm --cmdline "$WORDS earlyprintk=serial,0x3f8,keep TEST=panic"
    [ "$status" -eq 0 ]
    [[ $output == *"Kernel panic - not syncing: Attempted to kill init!"* ]]
}

@test "it runs in its jail" {
    start_vmm --cpus 2 --rng --cmdline "$WORDS TEST=sleep" --control "$WORK/control"
    until "$FIXTURES/control" "$WORK/control" stats >/dev/null 2>&1; do sleep 0.05; done
    for task in /proc/"$VM"/task/*; do
        grep -q '^Seccomp:	2$' "$task/status"
        grep -q '^NoNewPrivs:	1$' "$task/status"
        [ "$(grep -c '^Cap.*:	0000000000000000$' "$task/status")" -eq 5 ]
    done
    [ -z "$(find "/proc/$VM/root/" -mindepth 1)" ]
    for ns in mnt net ipc uts cgroup; do
        [ "$(readlink "/proc/$VM/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ]
    done
    # nothing of the kernel's or the initrd's file system is held
    run readlink "/proc/$VM"/fd/*
    [[ $output != *vmlinux* && $output != *initrd* ]]
    "$FIXTURES/control" "$WORK/control" stop
    wait "$VM"
}

@test "pause holds the guest still, resume lets it go on, stop ends it" {
    start_vmm --serial --cpus 2 --cmdline "$WORDS $CONSOLE TEST=tick" --control "$WORK/control"
    wait_text "$WORK/out" 'tick 3'
    run "$FIXTURES/control" "$WORK/control" pause stats
    [[ $output == *"pause error=0 paused=1"*"stats error=0 paused=1"* ]]
    before=$(wc -c <"$WORK/out")
    sleep 1
    [ "$(wc -c <"$WORK/out")" -eq "$before" ]
    run "$FIXTURES/control" "$WORK/control" resume
    [[ $output == *"resume error=0 paused=0"* ]]
    last=$(grep -ac tick "$WORK/out")
    wait_text "$WORK/out" "tick $((last + 3))"
    "$FIXTURES/control" "$WORK/control" stop
    wait "$VM"
}

@test "SIGQUIT says where the vCPUs are, SIGTERM ends the VM" {
    start_vmm --debug --cpus 2 --cmdline "$WORDS TEST=sleep" --control "$WORK/control"
    until "$FIXTURES/control" "$WORK/control" stats >/dev/null 2>&1; do sleep 0.05; done
    kill -QUIT "$VM"
    wait_text "$WORK/err" 'vCPU 1: rip 0x'
    kill -TERM "$VM"
    wait "$VM"
}

@test "what cannot be is refused by name" {
    run vmm --kernel /etc/passwd
    fails_with 3 "kernel is not an ELF file"
    run vmm --kernel /no/such/file
    fails_with 3 "kernel /no/such/file: No such file or directory"
    run vmm --memory 33M --initrd "$KERNEL"
    fails_with 3 "MiB, the VM has 33 MiB"
    run vmm --memory 1M
    fails_with 3 "of memory"
    run vmm --cpus 33
    fails_with 2 "--cpus"
    run vmm --disk /no/such/disk
    fails_with 3 "disk /no/such/disk: No such file or directory"
    run vmm --plan 0
    fails_with 2 "--plan takes no other option"
    run "$BULKHEAD_BUILD/bulkhead-vmm" --plan 0 </etc/passwd
    fails_with 3 "plan"
    run "$BULKHEAD_BUILD/bulkhead-vmm"
    fails_with 2 "--kernel is missing"
}
