#!/usr/bin/env bats
# The container's cgroup on the host: its limits there after create and after update, what happens at the memory limit, removal; and
# scopes of systemd's, asked of a stand-in for systemd (tests/fixtures/systemd.c) on a bus of its own.

load ../helper

setup() {
    make_work
    make_bundle
    CGROUP=/sys/fs/cgroup/bulkhead-test-limits
    edit '.linux.cgroupsPath = "/bulkhead-test-limits"'
}

clean_up() {
    [ -z "${FAKE-}" ] || kill "$FAKE" 2>/dev/null || true
    [ -z "${BUS-}" ] || kill "$BUS" 2>/dev/null || true
    remove_containers
    rm -rf "$WORK"
    [ -z "${NO_SYSTEMD-}" ] || rmdir /run/systemd/system
    rmdir /sys/fs/cgroup/bulkhead_test.slice 2>/dev/null || true
}

# holds FILE TEXT: the cgroup's file on the host
holds() {
    local is
    is=$(cat "$CGROUP/$1")
    [ "$is" = "$2" ] || { echo "$1 is \"$is\", not \"$2\""; return 1; }
}

# weight BFQ KERNEL: in the scheduler's file where there is one, else in the kernel's
weight() {
    if [ -e "$CGROUP/io.bfq.weight" ]; then
        holds io.bfq.weight "default $1"
    else
        holds io.weight "default $2"
    fi
}

# guest_holds ID "FILE TEXT"...: the container's own cgroup in the guest, looked at once
guest_holds() {
    local id=$1
    shift
    # shellcheck disable=SC2016 # the container's shell expands it
    diff <(printf '%s\n' "$@") \
        <(bh exec "$id" sh -c 'cd /sys/fs/cgroup; for f; do echo "$f $(cat "$f")"; done' sh "${@%% *}")
}

MIB=$((1024 * 1024))

@test "limits of create and of update, on the host and in the guest" {
    disk=$(cat /sys/block/*/dev | head -n 1)
    edit '.linux.resources = {
        memory: {limit: 67108864, swap: 134217728, reservation: 1048576}, pids: {limit: 20},
        cpu: {shares: 512, quota: 50000, period: 100000, cpus: "0", mems: "0"},
        blockIO: {weight: 500, throttleReadBpsDevice: [{major: '"${disk%:*}, minor: ${disk#*:}"', rate: 1000000}]},
        unified: {"memory.high": "50331648", "memory.swap.high": "1048576", "cpu.weight": "33"}}'
    edit '.mounts += [{destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["ro"]}]'
    args sleep 1000
    create_container c1
    # the host's OOM killer takes the VM, never who has its status to return
    [ "$(cat "/proc/$(pid_of shim c1)/oom_score_adj")" -eq -1000 ]
    [ "$(cat "/proc/$(pid_of fs c1)/oom_score_adj")" -eq -1000 ]
    [ "$(cat "/proc/$(pid_of vmm c1)/oom_score_adj")" -gt -1000 ]
    # the VM's 256 MiB, 64 of room, 2 for its tables, twice the limit for files
    holds memory.max $(((256 + 64 + 2 + 128) * MIB))
    holds memory.low $((65 * MIB))
    holds memory.swap.max $((64 * MIB))
    holds memory.swap.high $MIB
    holds memory.high max # this one is the guest's
    holds pids.max $((20 + 64 + 1))
    holds cpu.weight 33
    holds cpu.max "60000 100000"
    holds cpuset.cpus 0
    holds cpuset.mems 0
    weight 500 4950
    grep -qx "$disk rbps=1000000 wbps=max riops=max wiops=max" "$CGROUP/io.max"
    bh start c1
    guest_holds c1 "memory.max 67108864" "memory.high 50331648" "pids.max 20" "cpu.max 50000 100000" "cpu.weight 33" "cpuset.cpus "

    # what clients show is read there: time and memory of the VM, its processes
    [ "$(awk '/^usage_usec/ {print $2}' "$CGROUP/cpu.stat")" -gt 0 ]
    [ "$(cat "$CGROUP/memory.current")" -gt $((8 * MIB)) ]
    [ "$(cat "$CGROUP/pids.current")" -ge 3 ]

    bh update --memory 128M --memory-swap 128M --cpu-quota 20000 --cpu-share 1024 --pids-limit 30 --cpuset-cpus 0 --blkio-weight 1000 c1
    holds memory.max $(((256 + 64 + 2 + 256) * MIB))
    holds memory.swap.max 0
    holds cpu.max "30000 100000"
    holds cpu.weight 39
    holds pids.max $((30 + 64 + 1))
    weight 1000 10000
    # what the host cannot do changes nothing in the guest
    run bh update --cpuset-cpus 9999 --pids-limit 40 c1
    fails_with 1 "linux.resources.cpu.cpus: the host's cgroup"
    guest_holds c1 "memory.max $((128 * MIB))" "cpu.max 20000 100000" "pids.max 30"
    echo '{"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}}' | bh update --resources - c1
    holds memory.max max
    holds pids.max max
    guest_holds c1 "memory.max max" "pids.max max"
    bh delete --force c1
    [ ! -e "$CGROUP" ]
}

@test "a limit that only the host can keep and does not have is refused by name" {
    args true
    edit '.linux.resources.cpu = {cpus: "9999"}'
    run create_container c1
    [ "$status" -eq 1 ]
    grep -q "linux.resources.cpu.cpus: the host's cgroup" "$WORK/c1.err"
    edit '.linux.resources = {blockIO: {throttleReadBpsDevice: [{major: 9999, minor: 1, rate: 5}]}}'
    run create_container c1
    [ "$status" -eq 1 ]
    grep -q "linux.resources.blockIO.throttleReadBpsDevice" "$WORK/c1.err"
    edit '.linux.resources = {blockIO: {weight: 100}}'
    run bh --cgroup-manager=disabled run --bundle "$BUNDLE" c1
    fails_with 1 "linux.resources.blockIO.weight: only a cgroup on the host can keep this limit"
    # a cgroup whose parent hands out no controllers; what the guest keeps is a warning
    mkdir "$CGROUP"
    sleep 1000 3>&- &
    sleeper=$!
    echo "$sleeper" >"$CGROUP/cgroup.procs"
    edit '.linux.cgroupsPath = "/bulkhead-test-limits/box"'
    run bh run --bundle "$BUNDLE" c1
    edit '.linux.resources = {memory: {limit: 67108864}}'
    refused=$output status_before=$status
    run bh run --bundle "$BUNDLE" c1
    kill "$sleeper"
    wait "$sleeper" || true
    rmdir "$CGROUP"
    echo "$output"
    [ "$status_before" -eq 1 ]
    [[ $refused == *"linux.resources.blockIO.weight needs the io controller of cgroup v2 on the host"* ]]
    [ "$status" -eq 0 ]
    [[ $output == *"linux.resources.memory.limit holds in the virtual machine alone"* ]]
}

@test "at the memory limit the guest kills the container's process, and the VM lives on" {
    args sh -c 'head -c 200000000 /dev/zero | tail; echo "tail: $?"; exec tail /dev/zero'
    edit '.linux.resources = {memory: {limit: 33554432, swap: 33554432}}'
    status=0
    bh run --keep --bundle "$BUNDLE" c1 >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    cat "$CGROUP/memory.events"
    [ "$status" -eq 137 ]
    grep -q "tail: 137" "$WORK/out"
    # the host killed nothing until the container was over, and then the VM once, for clients to see
    [ "$(awk '/^oom_kill / {print $2}' "$CGROUP/memory.events")" -eq 1 ]
    bh delete c1
    [ ! -e "$CGROUP" ]
}

@test "execs of a container whose init is killed for memory were killed too, and say so" {
    local i pids=()
    args sh -c 'until [ -e /go ]; do sleep 0.05; done; exec tail /dev/zero'
    edit '.linux.resources = {memory: {limit: 33554432, swap: 33554432}}'
    create_container c1
    bh start c1
    for i in 1 2 3; do
        bh exec --pid-file "$WORK/e$i.pid" c1 sleep 1000 </dev/null >"$WORK/e$i" 2>&1 &
        pids+=($!)
    done
    for i in 1 2 3; do until [ -e "$WORK/e$i.pid" ]; do sleep 0.05; done; done
    touch "$BUNDLE/rootfs/go"
    for i in 1 2 3; do
        status=0
        wait "${pids[i - 1]}" || status=$?
        cat "$WORK/e$i"
        [ "$status" -eq 137 ]
        [ ! -s "$WORK/e$i" ] # not that the VM is gone, though it is
    done
    wait_status c1 stopped
    [ "$(awk '/^oom_kill / {print $2}' "$CGROUP/memory.events")" -eq 1 ]
    bh delete c1
}

@test "a kill for memory is counted on the host, whatever the cgroup holds, and costs the container nothing of its status" {
    # what is written to the root, on a tmpfs, is memory of the cgroup that nobody can take back; and a VMM that is the last to be killed
    args sh -c 'dd if=/dev/zero of=/big bs=1M count=30 2>/dev/null; (echo 0 >/proc/self/oom_score_adj; exec tail /dev/zero); echo "tail: $?"; exit 3'
    edit '.process.oomScoreAdj = -1000 | .linux.resources = {memory: {limit: 67108864, swap: 67108864}}'
    [ "$(stat -f -c %T "$BUNDLE/rootfs")" = tmpfs ]
    status=0
    bh run --keep --bundle "$BUNDLE" c1 >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    cat "$WORK/out" "$WORK/err" "$CGROUP/memory.events" "$CGROUP/memory.max"
    [ "$status" -eq 3 ]
    grep -q "tail: 137" "$WORK/out"
    [ "$(awk '/^oom_kill / {print $2}' "$CGROUP/memory.events")" -eq 1 ]
    bh delete c1
}

# --- systemd ------------------------------------------------------------------------------------------------------------------------

# booted_systemd: as if it ran, where it does not
booted_systemd() {
    [ -d /run/systemd/system ] || NO_SYSTEMD=yes
    mkdir -p /run/systemd/system
}

# fake_systemd [MODE]: a bus, and the stand-in on it; its words are in $WORK/systemd
fake_systemd() {
    booted_systemd
    [ -x "$WORK/fake" ] || cc -O2 -o "$WORK/fake" "$CHECKOUT/tests/fixtures/systemd.c" -lsystemd
    if [ -z "${BUS-}" ]; then
        sed "s:@SOCKET@:$WORK/bus:" >"$WORK/bus.conf" <<'END'
<busconfig>
  <listen>unix:path=@SOCKET@</listen>
  <policy context="default">
    <allow send_destination="*"/> <allow receive_sender="*"/> <allow own="*"/>
  </policy>
</busconfig>
END
        dbus-daemon --config-file="$WORK/bus.conf" --nofork 3>&- &
        BUS=$!
        until [ -S "$WORK/bus" ]; do sleep 0.05; done
    fi
    export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$WORK/bus
    [ -z "${FAKE-}" ] || { kill "$FAKE"; wait "$FAKE" || true; }
    "$WORK/fake" "$@" >"$WORK/systemd" 3>&- &
    FAKE=$!
    wait_text "$WORK/systemd" ready
}

@test "--systemd-cgroup: a scope of systemd's, its properties, update, delete" {
    fake_systemd
    CGROUP=/sys/fs/cgroup/bulkhead_test.slice/libpod-c1.scope
    edit '.linux.cgroupsPath = "bulkhead_test.slice:libpod:c1"
        | .linux.resources = {memory: {limit: 67108864, swap: 67108864}, pids: {limit: 20}, cpu: {shares: 512, quota: 50000, cpus: "0"}}'
    args sleep 1000
    bh --systemd-cgroup create --bundle "$BUNDLE" --pid-file "$WORK/c1.pid" c1 </dev/null >"$WORK/out" 2>"$WORK/err"
    [ "$(cat "/proc/$(cat "$WORK/c1.pid")/cgroup")" = "0::/bulkhead_test.slice/libpod-c1.scope" ]
    [ ! -s "$WORK/err" ]
    cat "$WORK/systemd"
    diff - <(sed -n '/^Start/,/^Set/p' "$WORK/systemd") <<END
StartTransientUnit libpod-c1.scope fail
  Description=bulkhead container c1
  Slice=bulkhead_test.slice
  PIDs=1
  Delegate=yes
  DefaultDependencies=no
  CollectMode=inactive-or-failed
  MemoryAccounting=yes
  IOAccounting=yes
  TasksAccounting=yes
  MemoryMax=$(((256 + 64 + 2 + 128) * MIB))
  MemorySwapMax=0
  CPUWeight=20
  TasksMax=85
  AllowedCPUs=01
SetUnitProperties libpod-c1.scope 1
END
    grep -qx '  CPUQuotaPerSecUSec=600000' "$WORK/systemd"
    holds memory.max $(((256 + 64 + 2 + 128) * MIB))
    holds cpu.max "60000 100000"
    # the VM's processes and the shim, and none of create's own
    while read -r p; do [ "$(readlink "/proc/$p/exe")" != "$(realpath "$BULKHEAD")" ]; done <"$CGROUP/cgroup.procs"
    bh start c1
    bh exec c1 true
    bh update --pids-limit 30 c1
    grep -qx '  TasksMax=95' "$WORK/systemd"
    holds pids.max 95
    bh delete --force c1
    grep -qx 'StopUnit libpod-c1.scope replace' "$WORK/systemd"
    grep -qx 'ResetFailedUnit libpod-c1.scope' "$WORK/systemd"
    [ ! -e "$CGROUP" ]

    # no name of the client's: one of ours, in system.slice; and a systemd that is gone does not keep a container from going
    edit 'del(.linux.cgroupsPath)'
    bh --cgroup-manager=systemd create --bundle "$BUNDLE" c2 </dev/null >"$WORK/out" 2>"$WORK/err"
    [ -d /sys/fs/cgroup/system.slice/bulkhead-c2.scope ]
    kill "$FAKE"
    wait "$FAKE" || true
    FAKE=
    bh delete --force c2
    [ ! -e /sys/fs/cgroup/system.slice/bulkhead-c2.scope ]
    # nor does one that never comes to an end with it
    fake_systemd
    bh --cgroup-manager=systemd create --bundle "$BUNDLE" c3 </dev/null >"$WORK/out" 2>"$WORK/err"
    fake_systemd silent
    bh delete --force c3
    grep -qx 'StopUnit bulkhead-c3.scope replace' "$WORK/systemd"
    [ ! -e /sys/fs/cgroup/system.slice/bulkhead-c3.scope ]
    rmdir /sys/fs/cgroup/bulkhead_test.slice
    rmdir /sys/fs/cgroup/system.slice 2>/dev/null || true # others may be in it
}

@test "--systemd-cgroup: no bus, no systemd on it, a job that fails, a job that never ends" {
    edit '.linux.cgroupsPath = "bulkhead_test.slice:libpod:c1"'
    booted_systemd
    export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$WORK/none
    run bh --systemd-cgroup run --bundle "$BUNDLE" c1
    fails_with 1 "there is no system bus to reach it by"
    fails_with 1 "--cgroup-manager=cgroupfs"
    [[ $output != *"o such file"* ]] # podman would take it for the container's command
    fake_systemd fails
    run bh --systemd-cgroup run --bundle "$BUNDLE" c1
    fails_with 1 'systemd could not start libpod-c1.scope: its job ended as '
    fake_systemd silent
    run bh --systemd-cgroup run --bundle "$BUNDLE" c1
    fails_with 1 "systemd does not start libpod-c1.scope"
    kill "$FAKE"
    wait "$FAKE" || true
    run bh --systemd-cgroup run --bundle "$BUNDLE" c1
    fails_with 1 "systemd refuses"
    edit '.linux.cgroupsPath = "bulkhead_test.slice:p:inner.slice"'
    run bh --systemd-cgroup run --bundle "$BUNDLE" c1
    fails_with 1 "which is not a scope"
    FAKE=
    [ "$(bh list -q)" = "" ]
}

@test "the agent's unit tests of limits, which want controllers of cgroup v2" {
    run env TEST_FILTER='test_controllers_*' "$BULKHEAD_BUILD/unit/test_agent_cgroup"
    echo "$output"
    [ "$status" -eq 0 ]
    [[ $output == *"OK ] test_controllers_limits"* && $output == *"OK ] test_controllers_oom"* ]]
}
