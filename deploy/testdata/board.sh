#!/bin/sh
# Boots a copy of this system in a container: what it writes stays in memory, and goes with it.
# usage: board.sh DIRECTORY OBDAGENT PROBE   in a mount namespace of its own
set -eu
base=$1 obdagent=$2 probe=$3

mount -t tmpfs -o mode=0755 obdagent-test "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" obdagent-test "$base/root"
cd "$base/root"

# No service of this machine, no identity, nothing of an obdagent that may be on it.
rm -rf etc/systemd/system/* etc/init.d/* etc/rc?.d/* etc/cron.* etc/machine-id var/lib/dbus/machine-id
rm -rf etc/obdagent etc/default/obdagent var/lib/obdagent var/lib/private var/log/obdagent var/log/private boot/obdagent*
: >etc/machine-id
: >etc/fstab
# What a machine for building has and a board does not: a ban on starting services, and pages of a manual to be indexed for minutes.
rm -f usr/sbin/policy-rc.d var/lib/man-db/auto-update
if [ -n "$obdagent" ]; then
	"$obdagent" install --root .
fi
cp "$probe" usr/bin/obdagent-probe
mkdir -p var/lib/private

exec systemd-nspawn --quiet --directory=. --boot --register=no --keep-unit --private-network --console=read-only \
	--machine=obdagent-test --system-call-filter=adjtimex --setenv=SYSTEMD_LOG_TARGET=journal systemd.unit=multi-user.target
