#!/usr/bin/env bash
# A Debian with Python as a tar, for BASE_IMAGE where no image registry can be reached:
#   docker/base.sh base.tar
# Needs root and debootstrap. Nothing of this host stays in it.
set -euo pipefail
tar=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
debootstrap --variant=minbase --include=python3-venv,ca-certificates trixie "$tree" >&2
rm -rf "$tree"/etc/{hostname,resolv.conf} "$tree"/var/cache/apt/archives/*.deb \
    "$tree"/var/lib/apt/lists/* "$tree"/var/log/bootstrap.log
tar --directory "$tree" --create --file "$tar.part" .
mv "$tar.part" "$tar"
