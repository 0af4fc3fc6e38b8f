"""What maintainer scripts would have done in the image, declared, and why or why not it is.

No script runs. Each package that brings a preinst or postinst has an entry here, written by
somebody who read it; `system_layer` refuses a package that has a script and no entry. What only
upgrades or removes something is not listed: an image is always a first installation.

Paths are relative to the root; `{triplet}` is the architecture's, such as x86_64-linux-gnu.
"""

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Directory:
    """A directory that a script makes, root's."""

    path: str
    mode: int = 0o755


@dataclass(frozen=True)
class Symlink:
    """A symbolic link that a script makes."""

    path: str
    target: str


@dataclass(frozen=True)
class Text:
    """A file that a script writes, 0644 and root's."""

    path: str
    content: str


@dataclass(frozen=True)
class Copy:
    """A file that a script copies from where its package has it; 0644 and root's."""

    source: str
    path: str


@dataclass(frozen=True)
class Alternative:
    """What `update-alternatives --install /LINK NAME /PATH` makes: two links, by NAME."""

    link: str
    name: str
    path: str


class Build(enum.Enum):
    """What takes more than a line; `system_layer` has a function for each."""

    LD_CACHE = "etc/ld.so.cache from every library in the linker's directories"
    CA_BUNDLE = "etc/ssl/certs from the certificates of the authorities"
    PYTHON_BYTECODE = "__pycache__ of the standard library, valid whatever the files' times"


Action = Directory | Symlink | Text | Copy | Alternative | Build


@dataclass(frozen=True)
class Script:
    """`does` is what the package's scripts would do at a first installation; `actions` what is done
    for it. Where that is less, `reason` says why.
    """

    does: str
    actions: tuple[Action, ...] = ()
    reason: str = ""


_UPGRADES_ONLY = Script(does="nothing at a first installation: it only tidies up old versions")

SCRIPTS: dict[str, Script] = {
    "base-files": Script(
        does="makes directories and the links /var/run and /var/lock, copies defaults into /etc "
        "and /root, creates login records",
        actions=(
            Directory("mnt"),
            Directory("opt"),
            Directory("srv"),
            Directory("run/lock", 0o1777),
            Copy("usr/share/base-files/profile", "etc/profile"),
        ),
        reason="nobody logs in, so no motd, dotfiles, mail directory or wtmp, and nobody builds "
        "packages by /etc/dpkg/origins; the two links come with the package's layer "
        "(file_system.py)",
    ),
    "ca-certificates": Script(
        does="lists the authorities in /etc/ca-certificates.conf and runs update-ca-certificates",
        actions=(Build.CA_BUNDLE,),
        reason="the list is only read by update-ca-certificates, which the image has no use for",
    ),
    "coreutils": Script(does="makes /usr/bin/touch, which usr-merge makes too"),
    "dash": Script(does="diverts bash's /bin/sh; the package's own link is already right"),
    "fontconfig-config": Script(
        does="links the defaults of four debconf questions into /etc/fonts/conf.d",
        actions=(
            Symlink(
                "etc/fonts/conf.d/10-hinting-slight.conf",
                "/usr/share/fontconfig/conf.avail/10-hinting-slight.conf",
            ),
            Symlink(
                "etc/fonts/conf.d/70-no-bitmaps.conf",
                "/usr/share/fontconfig/conf.avail/70-no-bitmaps.conf",
            ),
        ),
        reason="an empty /usr/local/share/fonts serves nobody",
    ),
    "libblas3": Script(
        does="makes the alternative libblas.so.3, which ffmpeg's libsphinxbase needs",
        actions=(
            Alternative(
                "usr/lib/{triplet}/libblas.so.3",
                "libblas.so.3-{triplet}",
                "usr/lib/{triplet}/blas/libblas.so.3",
            ),
        ),
    ),
    "libc-bin": Script(
        does="copies the default nsswitch.conf and runs ldconfig",
        actions=(
            Copy("usr/share/libc-bin/nsswitch.conf", "etc/nsswitch.conf"),
            Build.LD_CACHE,
        ),
    ),
    "libc6": Script(does="restarts services after an upgrade"),
    "libgcrypt20": _UPGRADES_ONLY,
    "libgdk-pixbuf-2.0-0": Script(
        does="lists the image loaders in loaders.cache",
        reason="the lock leaves the loaders out; PNG and JPEG, which librsvg may meet, need none",
    ),
    "libglib2.0-0": Script(
        does="compiles GSettings schemas and lists GIO modules",
        reason="no package of the image ships either, and both programs then write nothing",
    ),
    "libgssapi-krb5-2": _UPGRADES_ONLY,
    "liblapack3": Script(
        does="makes the alternative liblapack.so.3, which ffmpeg's libsphinxbase needs",
        actions=(
            Alternative(
                "usr/lib/{triplet}/liblapack.so.3",
                "liblapack.so.3-{triplet}",
                "usr/lib/{triplet}/lapack/liblapack.so.3",
            ),
        ),
    ),
    "libpulse0": _UPGRADES_ONLY,
    "libpython3.11-minimal": Script(does="writes a sitecustomize.py that the package ships anyway"),
    "netbase": Script(
        does="writes /etc/hosts and /etc/networks",
        actions=(
            Text(
                "etc/hosts",
                "127.0.0.1\tlocalhost\n"
                "::1\t\tlocalhost ip6-localhost ip6-loopback\n"
                "ff02::1\t\tip6-allnodes\n"
                "ff02::2\t\tip6-allrouters\n",
            ),
            Text(
                "etc/networks",
                "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n",
            ),
        ),
    ),
    "openssl": Script(does="links /usr/lib/ssl to /etc/ssl where the package did not"),
    "python3": Script(
        does="sets up the byte-compilation of Debian's own Python packages",
        reason="the image's Python packages are wheels",
    ),
    "python3-minimal": Script(
        does="compiles Debian's packaging helpers in /usr/share/python3", reason="nothing runs them"
    ),
    "python3.11": Script(does="compiles the standard library", actions=(Build.PYTHON_BYTECODE,)),
    "python3.11-minimal": Script(
        does="makes the directory for locally installed packages and compiles the library's core",
        actions=(
            Directory("usr/local/lib/python3.11/dist-packages"),
            Build.PYTHON_BYTECODE,
        ),
    ),
    "tzdata": Script(
        does="sets the time zone that debconf knows, by default UTC",
        actions=(
            Symlink("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
            Text("etc/timezone", "Etc/UTC\n"),
        ),
    ),
}
