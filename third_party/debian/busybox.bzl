"""The names by which Debian's busybox is called, as links for a layer."""

_APPLETS = (
    "[ ash awk basename cat chmod clear cmp cp cut date dd df diff dirname du echo env expr false find fold free " +
    "grep gunzip gzip head hexdump hostname id ip kill killall last less ln ls md5sum mkdir mktemp more mv nc " +
    "netstat nproc nslookup od pidof ping printf ps pwd readlink realpath renice rm rmdir sed seq sha256sum sleep " +
    "sort stat strings tail tar tee telnet test time timeout top touch tr traceroute true tty uname uniq uptime vi " +
    "watch wc wget which whoami xargs xxd yes"
).split(" ")

BUSYBOX_LINKS = {"/usr/local/bin/" + applet: "/usr/bin/busybox" for applet in _APPLETS} | {"/usr/bin/sh": "busybox"}
