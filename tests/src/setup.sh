# First process of a lab host: makes the host's own view of the machine, says
# "ready", then waits. When the lab's process ends, however it ends, standard
# input ends too; this process with it; and with this process, which is number 1
# of its namespace, everything that runs on the host.
#
# $1: name of the host   $2: directory of the host, the same inside and outside
set -eu
name=$1
exec 9<"$2"

mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/layer

# Own /etc and /var: what is written there stays in memory and ends with the host.
for tree in etc var; do
    mkdir -p "/run/layer/$tree/upper" "/run/layer/$tree/work"
    layers="lowerdir=/$tree,upperdir=/run/layer/$tree/upper,workdir=/run/layer/$tree/work"
    if ! mount -t overlay -o "$layers" overlay "/$tree" 2>/dev/null; then
        # No overlayfs here: a copy of /etc, and of /var only what servers expect.
        mkdir "/run/layer/$tree/copy"
        if [ "$tree" = etc ]; then
            cp -a /etc/. /run/layer/etc/copy/
        else
            mkdir -p /run/layer/var/copy/lib /run/layer/var/copy/log /run/layer/var/copy/cache
            ln -s /run /run/layer/var/copy/run
        fi
        mount --bind "/run/layer/$tree/copy" "/$tree"
    fi
done
# The host's directory stays the real one, wherever the repository is.
mkdir -p "$2"
mount --no-canonicalize --bind /proc/self/fd/9 "$2"
exec 9<&-
mkdir -p /var/log/nginx /var/lib/nginx
# A firewall of the machine itself is none of the host's.
rm -rf /etc/firewall /var/lib/firewall /etc/systemd/system/*firewall*

echo "$name" > /proc/sys/kernel/hostname
echo "$name" > /etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
: > /etc/resolv.conf

# Addresses are set by hand and usable at once: no duplicate address detection,
# no router advertisements listened to or asked for.
for setting in accept_dad:0 dad_transmits:0 accept_ra:0 router_solicitations:0; do
    for which in all default; do
        echo "${setting#*:}" > "/proc/sys/net/ipv6/conf/$which/${setting%:*}"
    done
done
ip link set lo up

# Waiting for a program of its own, this shell also reaps what others leave behind.
# (`read` would not do: dash ends it, as if at the end of the input, when an orphan
# dies.)
echo ready
head -n 1 > /run/layer/word
[ -s /run/layer/word ] || exit 0
# "keep": the lab's process is allowed to end without us.
sleep infinity
