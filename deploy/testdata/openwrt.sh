#!/bin/sh
# Starts a system with OpenWrt's layout in a container: busybox of this machine, and the few files of OpenWrt that a package meets.
# It has neither opkg nor procd: who calls does opkg's work, and etc/rc.common, which is ours, some of procd's.
# usage: openwrt.sh NAME RC_COMMON   as the first process of a PID namespace, in a mount namespace of its own: with it all ends
set -eu
rc_common=$2

mount --make-rprivate /
mount -t tmpfs -o mode=0755 obdagent-test /mnt
mkdir -p /mnt/bin /mnt/sbin /mnt/usr/bin /mnt/usr/sbin /mnt/usr/lib/opkg/info /mnt/etc/init.d /mnt/etc/rc.d /mnt/lib/upgrade/keep.d
mkdir -p /mnt/proc /mnt/sys /mnt/dev /mnt/tmp /mnt/overlay /mnt/rom
ln -s tmp /mnt/var
mkdir -p /mnt/tmp/run /mnt/tmp/log /mnt/tmp/lock

# busybox, the libraries that it is linked with, and all that it can do.
busybox=$(command -v busybox)
cp "$busybox" /mnt/bin/busybox
for library in $(ldd "$busybox" 2>/dev/null | grep -oE '/[^ ]+'); do
	mkdir -p "/mnt$(dirname "$library")"
	cp -L "$library" "/mnt$library"
done
for name in $("$busybox" --list); do
	[ -e "/mnt/bin/$name" ] || ln -s busybox "/mnt/bin/$name"
done
: >/mnt/sbin/procd
cp "$rc_common" /mnt/etc/rc.common
chmod 0755 /mnt/etc/rc.common

mount -t proc proc /mnt/proc
for device in null zero random urandom; do
	: >"/mnt/dev/$device"
	mount --bind "/dev/$device" "/mnt/dev/$device"
done
# A receiver's epochs come by the loopback.
ip link set lo up

cd /mnt
pivot_root . rom
umount -l /rom
# The shell buries whoever is orphaned.
exec /bin/busybox sh -c 'while :; do sleep 1; done'
