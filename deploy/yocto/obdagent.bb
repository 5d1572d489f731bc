# obdagent for Yocto, from what "make release" has built: the releases need a newer Go than the long-term versions of Yocto bring.
# docs/yocto.md says how to use it.
SUMMARY = "OBD and GPS of a vehicle, delivered to Amazon Data Firehose"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${OBDAGENT_DIR}/LICENSE;md5=bb382375a955980aa61508e69739f47d"

# Where the repository is checked out, and which of its binaries is for this machine. Set OBDAGENT_DIR in local.conf.
OBDAGENT_DIR ?= "${THISDIR}/obdagent"
OBDAGENT_ARCH:aarch64 = "arm64"
OBDAGENT_ARCH:arm = "arm"
OBDAGENT_ARCH:x86-64 = "amd64"
COMPATIBLE_HOST = "(aarch64|arm|x86_64).*-linux.*"

PV = "0.0"
FILESEXTRAPATHS:prepend = "${OBDAGENT_DIR}/dist/linux-${OBDAGENT_ARCH}:${OBDAGENT_DIR}/deploy:"
SRC_URI = "file://obdagent file://obdagent.service file://obdagent-seed.service file://70-obdagent.rules file://obdagent.toml"

inherit systemd

SYSTEMD_SERVICE:${PN} = "obdagent.service obdagent-seed.service"
SYSTEMD_AUTO_ENABLE = "enable"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    # Since styhead files are unpacked into UNPACKDIR, before that into WORKDIR.
    from="${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
    install -D -m 0755 "$from/obdagent" ${D}/usr/bin/obdagent
    install -D -m 0644 "$from/obdagent.service" ${D}${systemd_system_unitdir}/obdagent.service
    install -D -m 0644 "$from/obdagent-seed.service" ${D}${systemd_system_unitdir}/obdagent-seed.service
    install -D -m 0644 "$from/70-obdagent.rules" ${D}${nonarch_base_libdir}/udev/rules.d/70-obdagent.rules
    install -D -m 0644 "$from/obdagent.toml" ${D}${sysconfdir}/obdagent/config.toml
}

FILES:${PN} = "/usr/bin/obdagent ${systemd_system_unitdir} ${nonarch_base_libdir}/udev/rules.d ${sysconfdir}/obdagent"
CONFFILES:${PN} = "${sysconfdir}/obdagent/config.toml"
RRECOMMENDS:${PN} = "ca-certificates kernel-module-ftdi-sio kernel-module-ch341 kernel-module-cp210x kernel-module-pl2303 kernel-module-cdc-acm"

# It comes stripped, and without a C library.
INHIBIT_PACKAGE_STRIP = "1"
INSANE_SKIP:${PN} = "already-stripped"
