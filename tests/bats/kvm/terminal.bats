#!/usr/bin/env bats
# Terminals: the user's own under `run` and `exec` in the foreground, and one that goes to a client's console socket.

load ../helper

setup() {
    make_work
    make_bundle
    edit '.process.terminal = true'
    ON_TERMINAL=$CHECKOUT/tests/bats/on-terminal
}

teardown() {
    clean_up
}

# A shell script for on-terminal: `b` is bulkhead, and `check` says whether the terminal is as it was at the beginning.
script() { # TEXT
    cat >"$WORK/script" <<END
b() { "$BULKHEAD" --root "$ROOT" "\$@"; }
check() { [ "\$(stty -g)" = "\$before" ] && echo "\$1 restored" || { echo "\$1 spoilt"; stty -a; }; }
before=\$(stty -g)
trap : INT # ^C is for bulkhead
cd "$BUNDLE" || exit
$1
END
}

@test "exec -t from a terminal; run and exec without one, and of a terminal, are what runc makes of them" {
    edit '.process.terminal = false'
    args sleep 1000
    create_container c1
    bh start c1
    # shellcheck disable=SC2016
    script 'b exec -t c1 sh -c "stty size; read x; echo got \$x; test -t 2 && exit 4"; echo "status $?"; check it
        b exec c1 sh -c "test -t 0 || echo none"; check again
        b exec -t c1 /nonexistent; echo "status $?"; check last'
    "$ON_TERMINAL" --size 31x91 sh "$WORK/script" <<'END'
expect 31 91
resize 32x92
send word\r
expect got word
expect status 4\r\nit restored
expect none\r\nagain restored
expect no such file
expect status 255\r\nlast restored
END
    # no terminal on our side: the container's is there all the same
    [ "$(bh exec -t c1 sh -c 'test -t 0 && tty' </dev/null | tr -d '\r')" = /dev/pts/0 ]
    bh delete --force c1
    leftovers
}

@test "create and exec --console-socket: the master arrives, carries bytes both ways and the size" {
    args sh -c 'trap "stty size" WINCH; stty size; tty; until read x; do :; done; echo "got $x"; exec sleep 1000'
    edit '.process.consoleSize = {height: 33, width: 93}'
    run bh create --bundle "$BUNDLE" --pid-file "$WORK/pid" c1
    fails_with 1 "needs --console-socket"
    run bh create --bundle "$BUNDLE" --console-socket "$WORK/nobody" c1
    fails_with 1 "nobody"
    leftovers
    printf 'send something\\r\nexpect exec got something\n' >"$WORK/steps"
    "$ON_TERMINAL" --console "$WORK/c1.sock" "$BULKHEAD" --root "$ROOT" create --bundle "$BUNDLE" --pid-file "$WORK/pid" \
        --console-socket "$WORK/c1.sock" c1 <<END
run "$BULKHEAD" --root "$ROOT" start c1
expect 33 93\r\n/dev/(console|pts/0)
resize 34x94
expect 34 94
send word\r
expect got word
run "$ON_TERMINAL" --console "$WORK/e.sock" "$BULKHEAD" --root "$ROOT" exec --detach --tty --console-socket "$WORK/e.sock" --pid-file "$WORK/e.pid" c1 sh -c 'read x; echo "exec got \$x"' <"$WORK/steps" >"$WORK/exec.out"
END
    grep -q "exec got something" "$WORK/exec.out"
    [ -s "$WORK/e.pid" ]
    bh delete --force c1
    leftovers
}
