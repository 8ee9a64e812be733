# What the bats files of podman and buildah share, beside helper.bash: a store on a tmpfs with a busybox image, and no other's settings;
# and what is done before and after each test and each file.
# shellcheck shell=bash disable=SC2034,SC2154  # $ROOT is the helper's, $output bats's
#
# $DIR is the store, for a whole file; $WORK is a test's. All containers are Bulkhead's, below its default --root.

setup_file() {
    DIR=$(mktemp -d /tmp/bulkhead-podman-XXXXXX)
    export DIR CONTAINERS_CONF=$DIR/containers.conf BULKHEAD
    {
        printf '[containers]\nlog_driver = "k8s-file"\n[network]\nnetwork_backend = "netavark"\n'
        printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime_supports_json = ["bulkhead"]\n'
    } >"$CONTAINERS_CONF"
    cgroup_tree >"$DIR/cgroups"
    busybox_tree "$DIR/tree"
    tar -C "$DIR/tree" -cf "$DIR/busybox.tar" .
    pm import "$DIR/busybox.tar" localhost/busybox >/dev/null
}

teardown_file() {
    pm rm -af -t 0 >/dev/null 2>&1 || true
    pm rmi -af >/dev/null 2>&1 || true
    umount "$DIR/root/overlay" 2>/dev/null || true
    rm -rf "$DIR"
}

setup() {
    make_work
    ROOT=/run/bulkhead
}

clean_up() {
    {
        ba rm -a
        pm rm -af -t 0
        pm volume prune -f
    } >/dev/null 2>&1 || true
    rm -rf "$WORK"
}

pm() {
    podman --root "$DIR/root" --runroot "$DIR/run" --tmpdir "$DIR/tmp" --storage-driver overlay --runtime "$(realpath "$BULKHEAD")" "$@"
}

ba() {
    buildah --root "$DIR/root" --runroot "$DIR/run" --storage-driver overlay "$@"
}

# A profile of the host's AppArmor does not reach into a VM: podman must not ask for it.
container_options() {
    echo --network=none
    [ ! -e /sys/kernel/security/apparmor ] || echo --security-opt=apparmor=unconfined
}

# pm_run OPTION... COMMAND...: `podman run` with what every container here wants
pm_run() {
    # shellcheck disable=SC2046  # words
    pm run $(container_options) "$@"
}

# says TEXT: a line of $output is exactly that
says() {
    grep -qxF -- "$1" <<<"$output" || { echo "no line \"$1\" in:"; echo "$output"; return 1; }
}

# wait_log CONTAINER TEXT
wait_log() {
    until pm logs "$1" 2>&1 | grep -q -- "$2"; do sleep 0.2; done
}

# All cgroups, but for the parent that podman makes for good, and its monitors' place in there.
cgroup_tree() {
    find /sys/fs/cgroup -type d ! -path '*/libpod_parent' ! -path '*/libpod_parent/conmon' 2>/dev/null | sort
}

# store_left: no cgroup that was not there before, no mount in the store but the store's own
store_left() {
    local found
    found=$(
        cgroup_tree | comm -13 "$DIR/cgroups" - | sed 's/^/cgroup: /'
        awk -v dir="$DIR/" -v own="$DIR/root/overlay" 'index($2, dir) == 1 && $2 != own {print "mount: " $2}' /proc/self/mounts
    )
    [ -z "$found" ] || { printf 'left behind:\n%s\n' "$found"; return 1; }
}

# Neither client knows a container, and nothing of ours is there. What podman does after a container's end in a process of its own has
# then been done.
nothing_left() {
    [ -z "$(pm ps -aq --external)" ] || { pm ps -a --external; return 1; }
    store_left
    leftovers
}
