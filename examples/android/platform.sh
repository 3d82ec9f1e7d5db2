#!/bin/sh
# android.jar of Android 6 (API 23) into FOLDER. Debian 12 has none, its unstable suite does; the
# machine's own list of packages stays as it is.
#     sh platform.sh FOLDER
set -eu
mkdir -p "${1:?a folder}/lists/partial" "$1/cache/archives/partial"
cd "$1"
awk -v RS= 'NR == 1' /etc/apt/sources.list.d/debian.sources | sed 's/^Suites:.*/Suites: sid/' >sid.sources
of_sid() {
  apt-get -qq -o Dir::Etc::SourceList="$PWD/sid.sources" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD/cache" -o APT::Sandbox::User=root "$@"
}
of_sid update
of_sid download libandroid-23-java
dpkg-deb -x libandroid-23-java_*.deb unpacked
cp -L unpacked/usr/lib/android-sdk/platforms/android-23/android.jar android.jar
rm -r lists cache unpacked ./*.deb
