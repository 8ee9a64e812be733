#!/usr/bin/env bats
# shellcheck disable=SC2154 # $output, $status and $checkout come from bats and setup_file
#
# tests/kvm-host/run: a command runs where /dev/kvm is, and comes back whole. One boot of the
# emulated host answers most questions, since a boot is what costs.

bats_require_minimum_version 1.5.0

setup_file() {
    checkout=$(cd "$BATS_TEST_DIRNAME/../../.." && pwd)
    export checkout
    # What is left over shows: the run's own directory is made here.
    export TMPDIR=$BATS_FILE_TMPDIR/tmp
    mkdir "$TMPDIR" "$BATS_FILE_TMPDIR/carried"
}

setup() {
    kvm_host=$checkout/tests/kvm-host/run
    if [ ! -e /dev/kvm ]; then
        "$checkout/tests/kvm-host/setup" >/dev/null
    fi
}

@test "a command has /dev/kvm, its place, its words, its output and its exit status" {
    cd "$checkout/tests"
    export BULKHEAD_TEST_WORD='two  words, "quoted"'
    status=0
    # shellcheck disable=SC2016 # expanded in there
    "$kvm_host" --timeout 300 --writable "$BATS_FILE_TMPDIR/carried" bash -c '
        exec 5<>/dev/kvm && echo "kvm opens"
        pwd
        echo "$BULKHEAD_TEST_WORD"
        printf "<%s>" "$@"; echo
        [ -e kvm-host/run ] && echo "checkout in sight"
        [ "$(cat)" = "" ] && echo "stdin is empty"
        echo "to stderr" >&2
        echo kept >'"$BATS_FILE_TMPDIR"'/carried/file
        for dir in /tmp /run /dev/shm /sys/kernel/tracing/events/kvm; do [ -d $dir ] || exit 1; done
        cat /sys/fs/cgroup/cgroup.controllers >/dev/null
        # Where there is a /dev/kvm, nothing is emulated.
        kvm-host/run sh -c "echo \$BULKHEAD_KVM_HOST; exit 5"; echo $?
        exit 42' name "an argument" "" '*' \
        >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
    cat "$BATS_TEST_TMPDIR/out" "$BATS_TEST_TMPDIR/err"
    [ "$status" = 42 ]
    diff "$BATS_TEST_TMPDIR/out" - <<END
kvm opens
$checkout/tests
$BULKHEAD_TEST_WORD
<an argument><><*>
checkout in sight
stdin is empty
native
5
END
    grep -qx "to stderr" "$BATS_TEST_TMPDIR/err"
    [ "$(cat "$BATS_FILE_TMPDIR/carried/file")" = kept ]
    [ -z "$(ls -A "$TMPDIR")" ]
}

@test "a command that does not end is stopped, and the message says so" {
    run "$kvm_host" --timeout 2 sleep 1000
    [ "$status" = 124 ]
    [[ $output == *"no end after 2 s"* ]]
    [ -z "$(ls -A "$TMPDIR")" ]
}

@test "an interrupted run leaves nothing behind" {
    "$kvm_host" sleep 1000 2>"$BATS_TEST_TMPDIR/err" &
    # its child is the command, or QEMU
    until pgrep -P $! -f "sleep 1000|kvm_host_job=$TMPDIR" >/dev/null; do sleep 0.1; done
    kill $!
    status=0
    wait $! || status=$?
    echo "status $status"
    cat "$BATS_TEST_TMPDIR/err"
    [ "$status" = 143 ]
    [ -z "$(ls -A "$TMPDIR")" ]
    run ! pgrep -f "kvm_host_job=$TMPDIR"
}

@test "bad options are named" {
    run "$kvm_host" --timeout soon true
    [ "$status" = 125 ]
    [[ $output == *"--timeout wants a positive number, got 'soon'"* ]]
    run "$kvm_host" --writable /nonexistent true
    [ "$status" = 125 ]
    [[ $output == *"/nonexistent: not a directory"* ]]
    run "$kvm_host"
    [ "$status" = 125 ]
}
