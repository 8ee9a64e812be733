#!/usr/bin/env bats
# Terminals: the user's own under `run` and `exec` in the foreground, and one that goes to a client's console socket.

load ../helper

setup() {
    make_work
    make_bundle
    edit '.process.terminal = true'
    ON_TERMINAL=$CHECKOUT/tests/bats/on-terminal
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

@test "run: size, input, resize, exit; and a signal in every phase: the terminal is restored" {
    # shellcheck disable=SC2016
    args sh -c 'trap "stty size" WINCH; trap "exit 9" TERM; trap "exit 8" HUP; trap "exit 7" INT; stty size; tty; read x; echo "got $x"; while :; do sleep 0.1; done'
    script '
        b run c1; echo "status $?"; check first
        b run c2; echo "status $?"; check second
        b run c3; echo "status $?"; check third
        b run c4; echo "status $?"; check fourth
        b run c5; echo "status $?"; check fifth
        b run c6; echo "status $?"; check sixth'
    signal() { # NAME ID: to the bulkhead that runs it
        echo "run kill -$1 \$(jq .creator.pid '$ROOT/$2/state.json')"
    }
    # c3 and c4 are held in a hook, late in create
    cat >"$WORK/hold" <<END
#!/bin/sh
case \$(jq -r .id) in
c3 | c4) touch "$WORK/held" && exec sleep 100000 ;;
esac
END
    chmod +x "$WORK/hold"
    edit ".hooks.createRuntime = [{path: \"$WORK/hold\", env: [\"PATH=$PATH\"]}]"
    # 1: a person types and resizes; TERM to bulkhead goes on to the container. 2: HUP. 3: ^C during create, when the terminal is not raw
    # yet. 4: TERM during create. 5: ^C in raw mode, when what is typed gets to the container, is the container's. 6: the VM goes.
    "$ON_TERMINAL" --size 30x90 sh "$WORK/script" >"$WORK/out" <<END
expect 30 90\r\n/dev/pts/0\r\n
send hello\r
expect got hello
resize 40x100
expect 40 100
$(signal TERM c1)
expect status 9\r\nfirst restored
expect 40 100
$(signal HUP c2)
expect status 8\r\nsecond restored
run until rm '$WORK/held' 2>/dev/null; do sleep 0.05; done
send \x03
expect called off by SIGINT
expect status 1\r\nthird restored
run until rm '$WORK/held' 2>/dev/null; do sleep 0.05; done
$(signal TERM c4)
expect called off by SIGTERM
expect status 1\r\nfourth restored
expect 40 100\r\n/dev/pts/0\r\n
send raw\r
expect got raw
send \x03
expect status 7\r\nfifth restored
expect 40 100
run kill -KILL \$(jq .vmm.pid $ROOT/c6/state.json)
expect virtual machine ended
expect status 255\r\nsixth restored
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
}
