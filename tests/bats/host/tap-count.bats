#!/usr/bin/env bats
# tests/tap-count: what did not run is no success.

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    count=$BATS_TEST_DIRNAME/../../tap-count
    printf '1..2\nok 1 a\nok 2 b # skip for a reason\n' >good
}

@test "files are added up" {
    run "$count" good good
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" = "2 passed, 0 failed, 2 skipped" ]
}

@test "a file that is empty, missing, cut short or without tests is a failure" {
    : >empty
    printf '1..2\nok 1 a\n' >short
    printf '1..0\n' >none
    for file in empty missing short none; do
        run "$count" good "$file"
        [ "$status" -ne 0 ]
        [[ ${lines[-1]} == *" 1 failed, "* ]]
        run "$count" "$file" good
        [ "$status" -ne 0 ]
    done
}

@test "a failed test is a failure, and nothing but skipped ones is no success" {
    printf '1..1\nnot ok 1 a\n' >bad
    run "$count" good bad
    [ "$status" -ne 0 ]
    [ "${lines[-1]}" = "1 passed, 1 failed, 1 skipped" ]
    printf '1..1\nok 1 a # SKIP\n' >skipped
    run "$count" skipped
    [ "$status" -ne 0 ]
}
