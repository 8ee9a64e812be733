#!/usr/bin/env bats
# What ends every test with a virtual machine, and that it cannot be missed: whatever is left fails the test.

load ../helper

# not the helper's, which is what is tested
teardown() {
    [ -z "${LEFT-}" ] || kill "$LEFT"
    [ -z "${GROUP-}" ] || find "$GROUP" -depth -type d -delete
    rm -rf "$WORK"
}

# found TEXT: the check fails, and says this
found() {
    run leftovers
    fails_with 1 "left behind:"
    grep -qxF -- "$1" <<<"$output" || { echo "no line \"$1\" in: $output"; return 1; }
}

@test "a process, of each of the programs" {
    local program
    for program in bulkhead bulkhead-vmm bulkhead-fs bulkhead-shim; do
        cp "$(command -v sleep)" "$WORK/$program"
        "$WORK/$program" 1000 3>&- &
        LEFT=$!
        until [ "$(readlink "/proc/$LEFT/exe")" = "$WORK/$program" ]; do sleep 0.01; done
        found "process /proc/$LEFT: $WORK/$program"
        kill "$LEFT"
        wait "$LEFT" || true
        LEFT=
        [[ $(leftovers) != *"$WORK"* ]]
    done
}

@test "a mount" {
    mkdir "$WORK/dir"
    run unshare --map-root-user --mount bash -c "mount -t tmpfs none '$WORK/dir' && $(declare -f leftovers processes cgroups)
        WORK='$WORK' ROOT='$ROOT' FOREIGN='$FOREIGN'; leftovers"
    fails_with 1 "mount: none $WORK/dir tmpfs"
    [[ $(leftovers) != *"$WORK"* ]]
}

@test "a cgroup, also an empty one" {
    # a cgroup of version 2, or of any hierarchy of version 1
    GROUP=$(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -printf '%h\n' -quit)/bulkhead-test-$$
    mkdir "$GROUP" 2>/dev/null || { GROUP=; skip "no cgroup can be made here"; }
    mkdir "$GROUP/box"
    found "cgroup: $GROUP"
    found "cgroup: $GROUP/box"
    rmdir "$GROUP/box" "$GROUP"
    [[ $(leftovers) != *"$GROUP"* ]]
    GROUP=
}

@test "a file of the state, and an empty directory of it" {
    mkdir -p "$ROOT/c1"
    found "state: $ROOT/c1"
    : >"$ROOT/c1/vmm.log"
    found "state: $ROOT/c1/vmm.log"
    rm -r "$ROOT"
    [[ $(leftovers) != *"$ROOT"* ]]
}

# suite LINE...: runs tests of which each is one line
suite() {
    local line n=0
    {
        echo "load '$CHECKOUT/tests/bats/helper'"
        # shellcheck disable=SC2016
        echo 'remove_containers() { echo "$WORK" >>"'"$WORK"'/cleaned"; }'
        for line; do printf '@test "%d" {\n%s\n}\n' $((n += 1)) "$line"; done
    } >"$WORK/suite.bats"
    run bats --tap "$WORK/suite.bats"
    echo "$output"
}

@test "a test that passes but for what it left has failed; and what a failed test left goes without a word" {
    local work
    suite 'true' 'mkdir -p "$ROOT/c1"' 'mkdir -p "$ROOT/c1"; false' 'skip "for a reason"' 'true'
    [ "$(grep -oE '^(not )?ok [0-9]' <<<"$output" | tr '\n' ' ')" = "ok 1 not ok 2 not ok 3 ok 4 ok 5 " ]
    [ "$(grep -c 'left behind:' <<<"$output")" -eq 1 ]
    [ "$(grep -c 'state: .*/state/c1' <<<"$output")" -eq 1 ]
    [ "$(wc -l <"$WORK/cleaned")" -eq 5 ]
    while read -r work; do [ ! -e "$work" ]; done <"$WORK/cleaned"
}

@test "no suite with virtual machines does without" {
    local file
    for file in "$CHECKOUT"/tests/bats/kvm/*.bats "$CHECKOUT/tests/bats/podman.bash"; do
        [[ $file == *.bash ]] || grep -qx 'load ../helper' "$file" || { echo "$file does not load the helper"; return 1; }
        ! grep -nE '^ *teardown *\(' "$file" || { echo "$file has a teardown of its own"; return 1; }
        # one that looks for more looks for this as well
        ! grep -qE '^nothing_left\(' "$file" || awk '/^nothing_left\(/,/^}/' "$file" | tail -n 2 | grep -qx '    leftovers' ||
            { echo "nothing_left of $file does not end with leftovers"; return 1; }
    done
}
