# What the bats files share: a bundle, the runtime with a state directory of its own, and the search for leftovers.
# shellcheck shell=bash disable=SC2034,SC2154  # $status, $output are bats's
#
# Each test gets $WORK (on a tmpfs), $BUNDLE with a busybox config.json, $ROOT for --root. `bh` calls bulkhead.

: "${BULKHEAD_BUILD:?names the build tree; run the tests through make check}"
BULKHEAD=$BULKHEAD_BUILD/bulkhead
CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# State directories below /tmp, so that one search finds what is ours.
make_work() {
    WORK=$(mktemp -d /tmp/bulkhead-test-XXXXXX)
    ROOT=$WORK/state
    BUNDLE=$WORK/bundle
    FOREIGN=$(foreign)
}

make_bundle() {
    "$CHECKOUT/rootfs/make-bundle" "${1:-$BUNDLE}" >/dev/null 2>&1
    "$BULKHEAD" spec --bundle "${1:-$BUNDLE}"
    edit '.process.terminal = false | .root.readonly = false' "${1:-$BUNDLE}"
}

# edit JQ-FILTER [BUNDLE]: changes config.json
edit() {
    local config=${2:-$BUNDLE}/config.json
    jq "$1" "$config" >"$config.new" && mv "$config.new" "$config"
}

# args WORD...: what the container runs
args() {
    local json
    json=$(printf '%s\n' "$@" | jq -R . | jq -sc .)
    edit ".process.args = $json"
}

bh() {
    "$BULKHEAD" --root "$ROOT" "$@"
}

# create_container ID [OPTION...]: create with stdio to files, as a client's pipes would be
create_container() {
    local id=$1
    shift
    bh create --bundle "$BUNDLE" --pid-file "$WORK/$id.pid" "$@" "$id" </dev/null >"$WORK/$id.out" 2>"$WORK/$id.err"
}

status_of() {
    bh state "$1" | jq -r .status
}

# pid_of vmm|fs|shim ID: a process of this container, and of no other that may run on the machine
pid_of() {
    jq -e ".$1.pid" "$ROOT/$2/state.json"
}

# wait_status ID STATUS: until the container has it (bats's own time-out bounds the wait)
wait_status() {
    until [ "$(status_of "$1")" = "$2" ]; do sleep 0.05; done
}

# wait_text FILE TEXT
wait_text() {
    until grep -q -- "$2" "$1" 2>/dev/null; do sleep 0.05; done
}

# moments CALLS COMMAND...: each of these system calls that the command makes, as "CALL N"
moments() {
    local calls=$1
    shift
    strace -qq -o "$WORK/calls" -e "trace=$calls" "$@" </dev/null >/dev/null 2>&1 || return
    sed -nE 's/^([a-z0-9_]+)\(.*/\1/p' "$WORK/calls" | awk '{print $1, ++n[$1]}'
}

# killed_at CALL N COMMAND...: the command is killed on its way into its Nth CALL
killed_at() {
    local call=$1 n=$2 ended=0
    shift 2
    strace -qq -o /dev/null -e "trace=$call" -e "inject=$call:signal=KILL:when=$n" "$@" </dev/null >/dev/null 2>&1 || ended=$?
    [ "$ended" -eq 137 ] || { echo "killed at $call $n, it ended with $ended"; return 1; }
}

# Bulkhead's processes on this machine
processes() {
    find /proc/[0-9]*/exe -maxdepth 0 \( -lname '*/bulkhead' -o -lname '*/bulkhead-vmm*' -o -lname '*/bulkhead-fs*' \
        -o -lname '*/bulkhead-shim*' \) -printf 'process %h: %l\n' 2>/dev/null || true # some end meanwhile
}

cgroups() {
    find /sys/fs/cgroup -type d -path '*bulkhead*' -printf 'cgroup: %p\n' 2>/dev/null
}

# Containers that run here and are not of these tests: programs of another build tree, cgroups in use. What a test left is not among
# them, for the programs are ours, and a cgroup without them is empty.
foreign() {
    local line others
    others=$(processes | grep -vF ": $(realpath "$BULKHEAD_BUILD")/") || return 0
    echo "$others"
    cgroups | while read -r line; do
        ! grep -qs 'populated 1' "${line#cgroup: }/cgroup.events" || echo "$line"
    done
}

# What is left of ours: processes, mounts, cgroups, state, sockets. Prints it; succeeds when there is nothing.
leftovers() {
    local found
    found=$(
        { processes; cgroups; } | grep -vxF -- "$FOREIGN"
        grep -F "$WORK" /proc/self/mounts | sed 's/^/mount: /'
        [ ! -d "$ROOT" ] || find "$ROOT" -mindepth 1 -printf 'state: %p\n'
    ) || true
    [ -z "$found" ] || {
        printf 'left behind:\n%s\n' "$found"
        return 1
    }
}

# Setup, where a suite has none of its own; and the teardown of all of them: a test that came to its end has failed all the same if it
# left something. What a failed one left goes, so that the next one starts clean.
setup() {
    make_work
}

teardown() {
    local left=0
    [ -z "${BATS_TEST_COMPLETED-}" ] || nothing_left || left=1
    clean_up
    return $left
}

# A suite with more to look at, or to remove, than what containers leave has these two of its own.
nothing_left() {
    leftovers
}

clean_up() {
    remove_containers
    rm -rf "$WORK"
}

remove_containers() {
    local d
    for d in "$ROOT"/*/; do
        [ -d "$d" ] && bh delete --force "$(basename "$d")" >/dev/null 2>&1
    done
    return 0
}

# fails_with STATUS TEXT: judges what `run` left
fails_with() {
    [ "$status" -eq "$1" ] || { echo "status $status, wanted $1: $output"; return 1; }
    [[ $output == *"$2"* ]] || { echo "the message is: $output"; echo "it lacks: $2"; return 1; }
}

# busybox_tree DIR: a busybox root file system
busybox_tree() {
    "$CHECKOUT/rootfs/make-bundle" "$1.bundle" >/dev/null 2>&1
    mv "$1.bundle/rootfs" "$1"
    rmdir "$1.bundle"
}

# busybox_image FILE: an OCI archive named docker.io/library/busybox:test, made without any registry
busybox_image() {
    local dir
    dir=$(mktemp -d /tmp/bulkhead-image-XXXXXX)
    umoci init --layout "$dir/oci"
    umoci new --image "$dir/oci:test"
    umoci unpack --image "$dir/oci:test" "$dir/bundle" >/dev/null 2>&1
    rm -rf "$dir/bundle/rootfs"
    busybox_tree "$dir/bundle/rootfs"
    umoci repack --image "$dir/oci:test" "$dir/bundle" >/dev/null 2>&1
    umoci config --image "$dir/oci:test" --config.cmd sh --config.env PATH=/bin:/sbin:/usr/bin:/usr/sbin
    # ctr takes the name of an archive's image as it stands
    skopeo copy -q "oci:$dir/oci:test" "oci-archive:$1:docker.io/library/busybox:test"
    rm -rf "$dir"
}
