#!/bin/sh
# Boots a copy of this system in a container: what it writes stays in memory, and goes with it.
# usage: board.sh NAME OBDAGENT PROBE   as the first process of a PID namespace, in a mount namespace of its own: with it all ends
#        board.sh                       says only whether that can be done here, in a mount namespace of its own
# OBDAGENT is the program to be installed, or empty. NAME names the container, and its control groups, which whoever called removes.
set -eu
name=${1-} obdagent=${2-} probe=${3-}

# Whatever is mounted from here on is nobody else's, and gone with the namespace. systemd-nspawn leaves something in /run.
mount --make-rprivate /
mount -t tmpfs -o mode=0755 obdagent-test /mnt
mkdir /mnt/upper /mnt/work /mnt/root
# The system sees its overlay, and not what is below: it cannot tell that it is in memory.
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work obdagent-test /mnt/root
mount -t tmpfs -o mode=0755 obdagent-test /run

# Two systemds in one control group each take the other's processes for their own, and wait for their end: so each board has a
# group of its own, in the hierarchy that counts processes, and on a mixed system in the old one, too.
grep -E '^[0-9]+:(name=systemd)?:' /proc/self/cgroup | while IFS=: read -r _ controller path; do
	case $controller in
	name=systemd) top=/sys/fs/cgroup/systemd ;;
	*) top=$(findmnt --noheadings --first-only --output=target --types=cgroup2) ;;
	esac
	group=$top$path/${name:-obdagent-test-probe-$$}
	mkdir "$group"
	if [ -z "$name" ]; then
		rmdir "$group"
	else
		echo $$ >"$group/cgroup.procs"
	fi
done
if [ -z "$name" ]; then
	exit
fi
mount -t proc proc /proc
cd /mnt/root

# No service of this machine, no identity, nothing of an obdagent that may be on it.
rm -rf etc/systemd/system/* etc/init.d/* etc/rc?.d/* etc/cron.* etc/machine-id var/lib/dbus/machine-id
rm -rf etc/obdagent etc/default/obdagent var/lib/obdagent var/lib/private var/log/obdagent var/log/private boot/obdagent*
: >etc/machine-id
: >etc/fstab
mount -t tmpfs -o mode=1777 obdagent-test var/tmp
# What a machine for building has and a board does not: a ban on starting services, and pages of a manual to be indexed for minutes.
rm -f usr/sbin/policy-rc.d var/lib/man-db/auto-update
if [ -n "$obdagent" ]; then
	"$obdagent" install --root .
fi
cp "$probe" usr/bin/obdagent-probe
mkdir -p var/lib/private

# The shell waits, and takes what is left over from others' children.
systemd-nspawn --quiet --directory=. --boot --register=no --keep-unit --private-network --console=read-only \
	--machine="$name" --system-call-filter=adjtimex --setenv=SYSTEMD_LOG_TARGET=journal systemd.unit=multi-user.target
