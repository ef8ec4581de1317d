# Unpacks standard input in a directory of its own on the host, and prints which. Ends
# with 74, and says why, if there is no place for it. Whoever runs it may be nobody in
# particular.
export LC_ALL=C
umask 022
home=${HOME:-/root}

refuse() {
    case $2 in
        *"No space left"* | *"quota exceeded"*) echo "no room in $1" >&2 ;;
        *) echo "$1 cannot be used ($2)" >&2 ;;
    esac
    exit 74
}

# What killed installers have left; one that lives may be on trial for an hour.
find /var/tmp "$home" -maxdepth 1 -type d -name 'firewall-install.??????' -user "$(id -u)" \
    -mmin +120 -exec rm -rf {} + 2>/dev/null

# The new binary is run from there, which a file system that is mounted noexec forbids.
for above in /var/tmp "$home"; do
    place=$(mktemp -d "$above/firewall-install.XXXXXX" 2>&1) || refuse "$above" "$place"
    # A host that is full is not left fuller.
    trap 'rm -rf "$place"' EXIT
    why=$({ echo '#!/bin/sh' >"$place/try" && chmod 700 "$place/try"; } 2>&1) ||
        refuse "$above" "$why"
    if "$place/try" 2>/dev/null; then
        rm "$place/try"
        why=$(tar -xpf - -C "$place" 2>&1) || refuse "$above" "$why"
        trap - EXIT
        echo "$place"
        exit 0
    fi
    rm -rf "$place"
done
echo "no program may run in /var/tmp or $home, mounted noexec (\`mount -o remount,exec /var/tmp\`)," >&2
exit 74
