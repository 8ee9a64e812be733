#!/usr/bin/env bats
# The command line where it needs no virtual machine: how options are read, what is refused by name, and that manual page and completion
# are complete. What the tables in the programs hold is taken from --help.

load ../helper

# no VM is made here, and other trees' tests may run beside these
teardown() {
    clean_up
}

verbs() {
    "$BULKHEAD" --help | sed -nE 's/^  ([a-z]+) .*/\1/p'
}

# options [VERB]: as the table has them, with their letters
options() {
    "$BULKHEAD" "$@" --help | sed -nE 's/^  (--[a-z0-9-]+)(, (-[a-z]))?.*/\1 \3/p'
}

# the verbs that take options; the other two refuse --help as well
verbs_with_options() {
    verbs | grep -vxE 'checkpoint|restore'
}

@test "help, --help and nothing at all print the same verbs; each verb its own, tidily" {
    local verb
    run "$BULKHEAD"
    [ "$status" -eq 0 ]
    [[ $output == *$'\n  update '* ]]
    [ "$("$BULKHEAD" help)" = "$output" ]
    [[ $("$BULKHEAD" --help) == "$output"$'\n\noptions:\n'* ]]
    for verb in $(verbs_with_options); do
        run "$BULKHEAD" "$verb" --help
        [ "$status" -eq 0 ]
        [[ ${lines[0]} == "usage: bulkhead $verb"* && $output == *$'\n\noptions:\n'* && ${lines[-1]} == *--help,* ]]
        ! grep -nE ' $' <<<"$output" || { echo "$verb: a blank ends a line"; return 1; }
    done
}

@test "the manual page has every verb and option in its section, and no others" {
    page=$CHECKOUT/docs/bulkhead.8
    # section TITLE-WORD: from its heading to the next, without the page's escapes
    section() {
        awk -v verb="$1" '/^\.S[SH]/ {on = $0 ~ "[ \",]" verb "[\",]?( |,|$)"} on' "$page" | sed -e 's/\\f.//g' -e 's/\\//g'
    }
    verbs | grep -qx update
    for verb in $(verbs); do
        section "$verb" | grep -q "" || { echo "no section for $verb"; return 1; }
    done
    for verb in OPTIONS $(verbs_with_options); do
        # shellcheck disable=SC2086  # nothing, for the program itself
        mapfile -t table < <(options ${verb/OPTIONS/} | tr ' ' '\n' | grep .)
        for option in "${table[@]}"; do
            [[ $verb == OPTIONS || $option != @(--help|-h) ]] || continue
            section "$verb" | grep -qE -- "(^|[ \",|])$option([ \",]|\$)" || { echo "$verb lacks $option"; return 1; }
        done
        for option in $(section "$verb" | sed -nE '/^\.TP/ {n; p}' | grep -oE -- '--[a-z0-9-]+'); do
            # create's section is run's as well
            # shellcheck disable=SC2086  # nothing, for the program itself
            { options ${verb/OPTIONS/}; [ "$verb" != create ] || options run; } | grep -q -- "^$option " ||
                { echo "$verb has no $option"; return 1; }
        done
    done
}

@test "the manual page is clean" {
    run groff -man -Tutf8 -ww -z "$CHECKOUT/docs/bulkhead.8"
    [ "$status" -eq 0 ]
    [ -z "$output" ]
}

@test "the completion offers every verb, option, container and signal" {
    # shellcheck source=/dev/null
    PATH=$BULKHEAD_BUILD:$PATH source "$CHECKOUT/configs/bash-completion"
    # cut as bash cuts them: at = and : too, each run of which is a word
    complete_words() {
        local word
        COMP_LINE="$BULKHEAD $*" COMP_WORDS=("$BULKHEAD")
        for word in "$@"; do
            [ "$word" ] || COMP_WORDS+=("")
            while [[ $word =~ ^([=:]+|[^=:]+)(.*)$ ]]; do
                COMP_WORDS+=("${BASH_REMATCH[1]}") word=${BASH_REMATCH[2]}
            done
        done
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _bulkhead
        printf '%s\n' "${COMPREPLY[@]}"
    }
    [ "$(complete_words "")" = "$(verbs)" ]
    for verb in $(verbs_with_options); do
        [ "$(complete_words "$verb" --)" = "$(options "$verb" | cut -d' ' -f1)" ]
    done
    [ "$(complete_words --)" = "$(options | cut -d' ' -f1)" ]
    [ "$(complete_words --root /tmp st)" = $'start\nstate' ]
    [ "$(complete_words --log-format "")" = $'text\njson' ]
    [ -z "$(complete_words run --bundle "")" ] # a file's name
    [ -z "$(complete_words run --bundle=/t)" ]
    [ "$(complete_words --root=/tmp st)" = $'start\nstate' ]
    [ "$(complete_words --root=/tmp --log=/a:b=c st)" = $'start\nstate' ]
    [ "$(complete_words --log-format=)" = $'text\njson' ]
    [ "$(complete_words --log-format=j)" = json ]
    [ "$(complete_words ps --format=t)" = table ]
    mkdir -p "$ROOT/one" "$ROOT/two"
    [ "$(complete_words --root "$ROOT" delete "")" = $'one\ntwo' ]
    [ "$(complete_words --root="$ROOT" delete "")" = $'one\ntwo' ]
    [ "$(complete_words --root="$ROOT" delete tw)" = two ]
    [ "$(complete_words --root "$ROOT" kill --all one SIGKI)" = SIGKILL ]
    rmdir "$ROOT/one" "$ROOT/two"
}

@test "the completion in bash itself, where a line is cut at = and :" {
    # typed STEM: what is on the line after all completions were inserted (M-*)
    typed() {
        printf '%s\n' "PS1=; source $CHECKOUT/configs/bash-completion" >"$WORK/keys"
        printf 'bulkhead %s\e*\001echo \005 >%s/typed\nexit\n' "$1" "$WORK" >>"$WORK/keys"
        PATH=$BULKHEAD_BUILD:$PATH INPUTRC=/dev/null TERM=dumb script -qec "bash --norc --noprofile -i" /dev/null <"$WORK/keys" >/dev/null
        sed 's/ *$//' "$WORK/typed"
    }
    mkdir -p "$ROOT/one" "$ROOT/two"
    [ "$(typed "--root=/x st")" = "bulkhead --root=/x start state" ]
    [ "$(typed "--log-format=j")" = "bulkhead --log-format=json" ]
    [ "$(typed "--log-format=")" = "bulkhead --log-format=json text" ]
    [ "$(typed "--root=$ROOT delete ")" = "bulkhead --root=$ROOT delete one two" ]
    rmdir "$ROOT/one" "$ROOT/two"
}

@test "options: one dash or two, with = or without, to the first argument or --" {
    for words in "--root $ROOT" "--root=$ROOT" "-root $ROOT" "-root=$ROOT"; do
        # shellcheck disable=SC2086
        run "$BULKHEAD" $words list --quiet
        [ "$status" -eq 0 ]
    done
    run bh list -- one
    fails_with 1 'list\" requires exactly 0 argument'
    run bh list --quiet=maybe
    fails_with 1 "--quiet is a switch"
    run bh list --quiet=false
    [ "$output" = "ID          PID         STATUS      BUNDLE      CREATED     OWNER" ]
    run bh list --nonsense
    fails_with 1 "unknown option --nonsense"
    run bh create --bundle
    fails_with 1 "--bundle needs a value"
    run bh create x2 --bogus
    fails_with 1 'create\" requires exactly 1 argument'
    run bh kill c1 TERM more
    fails_with 1 'kill\" requires a maximum of 2 argument'
    run bh exec c1
    fails_with 255 'exec\" requires a command, or --process'
    run bh bogus
    fails_with 3 "No help topic for 'bogus'"
}

@test "globals: those without meaning are accepted, wrong values are not" {
    run bh --rootless auto --criu=/usr/sbin/criu --systemd-cgroup --cgroup-manager cgroupfs --debug list -f json
    [ "$status" -eq 0 ]
    [[ $output == *null ]]
    run bh --cgroup-manager libcgroup list
    fails_with 1 '--cgroup-manager must be cgroupfs, systemd or disabled, got \"libcgroup\"'
    run bh --log-format yaml list
    fails_with 1 '--log-format must be text or json'
    run "$BULKHEAD" --root= list
    fails_with 1 '--root must not be empty'
}

@test "--help: no blank at a line's end, no two empty lines, also of what takes no arguments" {
    for verb in "" $(verbs_with_options); do
        # shellcheck disable=SC2086
        "$BULKHEAD" $verb --help >"$WORK/help"
        head -n 1 "$WORK/help" | grep -q "^usage: bulkhead "
        [ "$(grep -c ' $' "$WORK/help")" -eq 0 ]
        [ "$(uniq -d "$WORK/help" | grep -cx '')" -eq 0 ]
        [ "$(grep -cx '' "$WORK/help")" -ge 1 ]
    done
}

@test "a relative --root counts from here" {
    mkdir -p "$ROOT/one"
    cd "$WORK"
    [ "$("$BULKHEAD" --root state list -q)" = one ]
    cd /
    [ "$("$BULKHEAD" --root "${ROOT#/}" list -q)" = one ]
    "$BULKHEAD" --root "${ROOT#/}" delete --force one
    [ ! -e "$ROOT/one" ]
}

@test "errors go to stderr and to the log, as text and as JSON" {
    run bh --log "$WORK/log" --log-format json state c1
    [ "$status" -eq 1 ]
    jq -e --arg root "$ROOT" '.level == "error" and .msg == "container does not exist: there is no c1 in \($root) (--root)" and (.time | test("^20[0-9-]+T[0-9:.]+(Z|[+-])"))' "$WORK/log"
    [ "$(wc -l <"$WORK/log")" -eq 1 ]
    bh --log "$WORK/text" kill c1 9 || true
    grep -q 'level=error msg="container does not exist: there is no c1 in /' "$WORK/text"
}

@test "a verb for a container that is not there says so; delete --force does not mind" {
    for verb in state start kill "kill --all" pause resume ps events "events --stats" update delete; do
        # shellcheck disable=SC2086
        run bh $verb c1
        fails_with 1 "container does not exist: there is no c1 in $ROOT"
    done
    run bh exec c1 true
    fails_with 255 "container does not exist: there is no c1 in $ROOT"
    run bh delete --force c1
    [ "$status" -eq 0 ]
    [ -z "$output" ]
}

@test "what cannot be is refused by name, before the container is looked for" {
    run bh kill c1 SIGBOGUS
    fails_with 1 'unknown signal \"SIGBOGUS\"'
    run bh kill c1 65
    fails_with 1 'unknown signal \"65\"'
    for wrong in 5 0s -5s 1x 1.2.3s 25h ""; do
        run bh events --interval "$wrong" c1
        fails_with 1 "--interval must be a duration"
    done
    for good in 1.5s 1m30s 500ms 2h; do
        run bh events --interval "$good" c1
        fails_with 1 "container does not exist"
    done
    run bh ps c1 aux
    fails_with 1 'ps option \"aux\" is not supported'
    run bh ps c1 -o pid,rss
    fails_with 1 "ps -o rss is not supported"
    run bh ps --format yaml c1
    fails_with 1 "--format must be table or json"
    run bh exec --process-label system_u c1 true
    fails_with 255 "no SELinux"
    run bh exec --apparmor profile c1 true
    fails_with 255 "no AppArmor"
    run bh exec --cgroup memory:x c1 true
    fails_with 255 "cgroup v2"
    run bh exec --cgroup a --cgroup b c1 true
    fails_with 255 "exec --cgroup b: --cgroup is given already"
    run bh exec --apparmor "" --process-label "" --cgroup "" c1 true
    fails_with 255 "container does not exist"
}

@test "update: limits that there are not are refused by name" {
    while read -r option value text; do
        run bh update "--$option" "$value" c1
        fails_with 1 "$text"
    done <<'END'
memory 12x --memory must be a size
memory-swap big --memory-swap must be a size
pids-limit many --pids-limit must be a whole number
cpu-period 50000 container does not exist
cpu-idle 2 resources.cpu.idle must be 0 or 1
blkio-weight 5 resources.blockIO.weight must be between 10 and 1000
kernel-memory 1M resources.memory.kernel
kernel-memory-tcp 1M resources.memory.kernelTCP
cpu-rt-period 1000 resources.cpu.realtimePeriod
cpu-rt-runtime 1000 resources.cpu.realtimeRuntime
l3-cache-schema L3:0=f Intel RDT
mem-bw-schema MB:0=20 Intel RDT
END
    echo '{"memory": 5}' >"$WORK/resources"
    run bh update --resources "$WORK/resources" c1
    fails_with 1 "resources.memory"
    run bh update -r - c1 <<<'{'
    fails_with 1 "/dev/stdin"
    echo '{}' >"$WORK/resources"
    run bh update --resources="$WORK/resources" --memory 64M --cpu-share 512 --cpuset-cpus 0 --pids-limit=-1 c1
    fails_with 1 "container does not exist"
}

@test "--version names the commit of the checkout, and none without one" {
    run "$BULKHEAD" --version
    [ "$status" -eq 0 ]
    [[ ${lines[0]} == "bulkhead version "* ]]
    if [ -e "$CHECKOUT/.git" ]; then
        [[ ${lines[1]} =~ ^commit:\ [0-9a-f]{12}(-dirty)?$ ]]
    fi
    mkdir -p "$WORK/tarball/cmd/bulkhead"
    cp "$CHECKOUT/Makefile" "$WORK/tarball"
    touch "$WORK/tarball/cmd/bulkhead/main.c"
    run make -C "$WORK/tarball" -n V=1 build/obj/cmd/bulkhead/main.o
    [[ $output == *main.c* && $output != *BULKHEAD_COMMIT* ]]
}
