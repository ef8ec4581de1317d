# Makes a tree of Debian packages a machine that boots and lets root in by key.
# $1: the tree   $2: the public key
tree=$1
install -d -m 700 "$tree/root/.ssh"
cp "$2" "$tree/root/.ssh/authorized_keys"
chmod 600 "$tree/root/.ssh/authorized_keys"
echo machine > "$tree/etc/hostname"
echo '/dev/vda / ext4 defaults 0 1' > "$tree/etc/fstab"
printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n' > "$tree/etc/systemd/network/eth0.network"
units=$tree/etc/systemd/system
ln -sf /lib/systemd/system/systemd-networkd.service "$units/multi-user.target.wants/"
# Something that listens on a port which no rule admits.
printf '[Socket]\nListenStream=8080\nAccept=yes\n' > "$units/echo.socket"
printf '[Service]\nExecStart=/bin/echo open\nStandardOutput=socket\n' > "$units/echo@.service"
mkdir -p "$units/sockets.target.wants"
ln -sf ../echo.socket "$units/sockets.target.wants/"
# An emulated processor has better things to do.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-timesyncd.service getty@tty1.service; do
    ln -sf /dev/null "$units/$unit"
done
rm -rf "$tree/var/lib/apt/lists" "$tree/var/cache/apt"
