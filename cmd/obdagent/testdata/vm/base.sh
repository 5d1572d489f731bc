#!/bin/sh
# Makes the board of make vm, without the package: a Debian 12 for arm64 (kernel, initrd and a root file system on ext4), out of
# Debian's packages and nothing else, and prints the directory that it is in. It is kept below XDG_CACHE_HOME and made again when
# this file has changed. Some five minutes; as root, with mmdebstrap, arch-test, qemu-user-static, binfmt-support, e2fsprogs, kmod
# and cpio.
set -eu

release=bookworm
# What the smallest board with systemd has. Not the kernel: its scripts would make an initrd under emulation, for a quarter of an hour.
packages=systemd,systemd-sysv,udev,dbus,kmod,init-system-helpers
# Drivers of the disk and of its file system come with the initrd; udev loads the others itself. The chips are those of adapters and
# receivers (deploy/70-obdagent.rules).
early='virtio_pci virtio_blk crc32c_generic ext4'
later='virtio_net virtio_console xhci-pci usbserial ftdi_sio cdc-acm ch341 cp210x pl2303 autofs4'

kept=${XDG_CACHE_HOME:-${HOME:?}/.cache}/obdagent-vm
name=$(sha256sum "$0" | cut -c1-16)
if [ -e "$kept/$name/disk.img" ]; then
	echo "$kept/$name"
	exit
fi
[ "$(id -u)" -eq 0 ] || { echo "$0: only root can make a file system with everybody's files in it" >&2; exit 1; }
for program in mmdebstrap arch-test qemu-aarch64-static update-binfmts mkfs.ext4 modprobe depmod cpio; do
	PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || { echo "$0: no $program: apt-get install mmdebstrap arch-test qemu-user-static binfmt-support e2fsprogs kmod cpio" >&2; exit 1; }
done
PATH=$PATH:/usr/sbin:/sbin
exec 3>&1 >&2 # only the directory's name is printed

work=$(mktemp -d)
mounted='' enabled=''
clean() {
	[ -z "$enabled" ] || update-binfmts --disable qemu-aarch64
	[ -z "$mounted" ] || umount /proc/sys/fs/binfmt_misc
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$kept"

# Programs for arm64 run here, for as long as it takes.
if ! arch-test arm64 >/dev/null; then
	if [ ! -e /proc/sys/fs/binfmt_misc/register ]; then
		mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
		mounted=yes
	fi
	update-binfmts --enable qemu-aarch64
	enabled=yes
fi

mirror=$(apt-cache policy base-files | grep -oE 'https?://[^ ]+' | head -1)
mirror=${mirror:-http://deb.debian.org/debian}
mmdebstrap --quiet --architectures=arm64 --variant=minbase --include=$packages $release "$work/root.tar" "$mirror"

# The kernel, and a busybox for the initrd, as files: apt with a state of its own that knows this one architecture.
mkdir -p "$work/lists/partial" "$work/debs" "$work/files" "$work/root" "$work/initrd"
chmod 755 "$work"
echo "deb $mirror $release main" >"$work/sources.list"
for_arm64() {
	program=$1
	shift
	(cd "$work/debs" && "$program" -qq -oAPT::Architecture=arm64 -oAPT::Architectures=arm64 -oDir::Etc::SourceList="$work/sources.list" \
		-oDir::Etc::SourceParts=/dev/null -oDir::State::Lists="$work/lists" -oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache= \
		-oAPT::Sandbox::User=root "$@")
}
for_arm64 apt-get update
kernel=$(for_arm64 apt-cache depends linux-image-arm64 | sed -n 's/.*Depends: *//p')
for_arm64 apt-get download "$kernel" busybox-static
for deb in "$work"/debs/*.deb; do
	dpkg -x "$deb" "$work/files"
done
version=${kernel#linux-image-}

# The root file system.
root=$work/root
tar -C "$root" -xf "$work/root.tar"
# modules TREE NAMES...: the files of these modules and of those that they need, in the order in which they can be loaded.
modules() {
	tree=$1
	shift
	modprobe --dirname "$tree" --set-version "$version" --show-depends --all "$@" | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'
}
depmod --basedir "$work/files" "$version"
# shellcheck disable=SC2086 # the names are words
modules "$work/files" $early $later | while read -r module; do
	install -D -m 644 "$module" "$root/${module#"$work/files"}"
done
cp "$work/files/lib/modules/$version"/modules.builtin* "$work/files/lib/modules/$version"/modules.order "$root/lib/modules/$version/"
depmod --basedir "$root" "$version"
echo board >"$root/etc/hostname"
: >"$root/etc/machine-id"
# udev on a busy machine's emulated board has taken longer than systemd's 90 s to find it.
echo 'LABEL=stick /media/stick ext4 ro,nofail,x-systemd.device-timeout=30min 0 0' >"$root/etc/fstab"
mkdir "$root/media/stick"
# No way out but to the machine that it runs on.
printf '[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\nLinkLocalAddressing=no\n' >"$root/etc/systemd/network/10-board.network"
# The hand with which the test does on the board what a technician would, from a stick that is plugged in.
cat >"$root/etc/systemd/system/rig.service" <<UNIT
[Unit]
Description=The test on this board
DefaultDependencies=no
RequiresMountsFor=/media/stick
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=/media/stick/rig
[Install]
WantedBy=sysinit.target
UNIT
for unit in /lib/systemd/system/systemd-networkd.service=multi-user.target ../rig.service=sysinit.target; do
	mkdir -p "$root/etc/systemd/system/${unit#*=}.wants"
	ln -s "${unit%=*}" "$root/etc/systemd/system/${unit#*=}.wants/"
done

# The initrd mounts it and hands over.
initrd=$work/initrd
mkdir "$initrd/bin" "$initrd/root" "$initrd/dev" "$initrd/proc"
cp "$work/files/bin/busybox" "$initrd/bin/"
{
	printf '#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs dev /dev\n'
	# shellcheck disable=SC2086
	modules "$work/files" $early | while read -r module; do
		cp "$module" "$initrd/"
		echo "/bin/busybox insmod /${module##*/}"
	done
	echo 'until /bin/busybox mount -t ext4 /dev/vda /root 2>/dev/null; do /bin/busybox usleep 20000; done'
	echo '/bin/busybox umount /dev'
	echo 'exec /bin/busybox switch_root /root /sbin/init'
} >"$initrd/init"
chmod 755 "$initrd/init"

mkdir "$work/board"
cp "$work/files/boot/vmlinuz-$version" "$work/board/vmlinuz"
(cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -9) >"$work/board/initrd"
mkfs.ext4 -q -d "$root" -L root "$work/board/disk.img" 1G
chmod 755 "$work/board"
rm -rf "$kept/$name.new"
cp -r --sparse=always "$work/board" "$kept/$name.new"
mv "$kept/$name.new" "$kept/$name"
echo "$kept/$name" >&3
