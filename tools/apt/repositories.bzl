"""The repository rules for Debian packages, for a WORKSPACE to load."""

load(":deb_archive.bzl", _deb_archive = "deb_archive")
load(":deb_packages.bzl", _deb_packages = "deb_packages")
load(":deb_tree.bzl", _deb_tree = "deb_tree")
load(":mirrors.bzl", _apt_mirrors = "apt_mirrors")

apt_mirrors = _apt_mirrors
deb_archive = _deb_archive
deb_packages = _deb_packages
deb_tree = _deb_tree
