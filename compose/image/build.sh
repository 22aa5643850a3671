#!/bin/sh
# Builds kafka-harness/kafka:VERSION, an image with the paths and the start contract of apache/kafka:VERSION, without
# any image registry: Debian's packages (debootstrap, a JRE), then Kafka's jars.
#
#   build.sh [--jars FOLDER] [--mirror URL] [--rebuild] VERSION
#
#   --jars FOLDER  Kafka's jars and their dependencies; without it Maven fetches them (../maven/kafka-N.xml)
#   --mirror URL   a Debian mirror; without it the one in this host's apt configuration
#   --rebuild      makes the base anew (with today's security updates) instead of using the one in the engine
#
# Two steps, so that versions share the costly one:
#   1 base     a root file system in a temporary folder, as root: debootstrap, apt-get in a chroot with /proc mounted
#              (the JRE's postinst needs it), `tar | docker import`. Kept in the engine as kafka-harness/base.
#   2 version  `docker build` upon that base: jars and scripts, then one short cluster that leaves the AppCDS archive and
#              the formatted folder which make later starts quick (files/docker/train).
# Needs root, debootstrap, a Docker engine, and either --jars or Maven. Leaves nothing but images.
set -eu

SUITE=bookworm
BASE=kafka-harness/base:$SUITE-jre17
HELPER=kafka-harness/helper:latest
TOOLS=iptables,iproute2,procps,ca-certificates
JRE=openjdk-17-jre-headless

here=$(cd "$(dirname "$0")" && pwd)
jars='' mirror='' rebuild='' version=''
work=''

die() {
  echo "build.sh: $*" >&2
  exit 1
}

clean() {
  [ -n "$work" ] || return 0
  if grep -q " $work/root/proc " /proc/mounts; then umount "$work/root/proc" || exit 1; fi
  rm -rf --one-file-system "$work"
}

need() {
  command -v "$1" >/dev/null || die "$1 is missing: install $2"
}

# The URL of the first Debian archive in the host's apt configuration whose release matches the pattern.
host_mirror() {
  command -v apt-get >/dev/null || return 0
  # shellcheck disable=SC2016 # apt's own variables
  apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v release="$1" '$1 == "Debian" && $2 ~ release { print $3; exit }'
}

build_base() {
  [ "$(id -u)" = 0 ] || die "making the base needs root (debootstrap)"
  need debootstrap "Debian's package debootstrap"
  main=${mirror:-$(host_mirror '^[a-z]+$')}
  [ -n "$main" ] || die "no Debian mirror in this host's apt configuration: give --mirror URL"
  security=$(host_mirror '^[a-z]+-security$')
  root=$work/root
  debootstrap --variant=minbase --include="$TOOLS" "$SUITE" "$root" "$main" >"$work/debootstrap.log" 2>&1 ||
    die "debootstrap failed: $(tail -n 3 "$work/debootstrap.log")"
  {
    echo "deb $main $SUITE main"
    [ -z "$security" ] || echo "deb $security $SUITE-security main"
  } >"$root/etc/apt/sources.list"
  # What this host needs to reach its mirror holds in the chroot too.
  if command -v apt-config >/dev/null; then
    apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-Valid-Until|Check-Date)' >"$root/etc/apt/apt.conf.d/99host" || true
  fi
  mount -t proc proc "$root/proc"
  chroot "$root" sh -ec "
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    apt-get update
    apt-get upgrade --yes
    apt-get install --yes --no-install-recommends $JRE
    apt-get clean
    useradd --uid 1000 --create-home --shell /bin/bash appuser
    java -version" >"$work/apt.log" 2>&1 || die "the base's packages failed: $(tail -n 3 "$work/apt.log")"
  umount "$root/proc"
  tar --create --directory "$root" --numeric-owner --one-file-system \
    --exclude='./var/lib/apt/lists/*' --exclude='./var/cache/*/*' --exclude='./var/log/*' --exclude='./usr/share/doc/*' \
    --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude=./etc/apt/apt.conf.d/99host . |
    docker import --change 'ENV LANG=C.UTF-8' --change 'LABEL kafka-harness.iptables=1' - "$BASE" >/dev/null
  docker tag "$BASE" "$HELPER"
}

fetch_jars() {
  need mvn "Maven, or give --jars FOLDER"
  jars=$work/jars
  cp "$here/../maven/kafka-${version%%.*}.xml" "$work/pom.xml" || die "no pom for Apache Kafka $version"
  mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -Dkafka.version="$version" -DoutputDirectory="$jars" >"$work/maven.log" 2>&1 ||
    die "Maven can't fetch Apache Kafka $version: $(grep -m 1 ERROR "$work/maven.log")"
}

# kafka-topics.sh and its like live in one more jar, which a node does not need: taken when Maven is there.
fetch_tools() {
  [ ! -e "$1/kafka-tools-$version.jar" ] || return 0
  command -v mvn >/dev/null || return 0
  cp "$here/../maven/kafka-${version%%.*}.xml" "$work/pom.xml"
  mvn -q -B -f "$work/pom.xml" dependency:copy -Dkafka.version="$version" -DoutputDirectory="$1" \
    -Dartifact="org.apache.kafka:kafka-tools:$version" >/dev/null 2>&1 ||
    echo "build.sh: no kafka-tools $version: go on" >&2
}

build_version() {
  context=$work/context
  mkdir "$context"
  cp -R "$here/files" "$here/Dockerfile" "$context/"
  mkdir "$context/libs" "$context/config"
  cp "$jars"/*.jar "$context/libs/"
  [ -e "$context/libs/kafka_2.13-$version.jar" ] || die "no kafka_2.13-$version.jar in $jars"
  fetch_tools "$context/libs"
  if [ "${version%%.*}" -ge 4 ]; then
    cp "$here/../logging/log4j2.properties" "$here/files/config/tools-log4j2.properties" "$context/config/"
  else
    cp "$here/../logging/reload4j.properties" "$context/config/log4j.properties"
    cp "$here/files/config/tools-log4j.properties" "$context/config/"
  fi
  tag=kafka-harness/kafka:$version
  before=$(docker image inspect --format '{{.Id}}' "$tag" 2>/dev/null) || true
  docker build --build-arg "BASE=$BASE" --build-arg "KAFKA_VERSION=$version" \
    --tag "$tag" "$context" >"$work/build.log" 2>&1 ||
    die "docker build failed: $(tail -n 20 "$work/build.log")"
  # The image that had the tag before goes, unless a container still uses it.
  if [ -n "$before" ] && [ "$before" != "$(docker image inspect --format '{{.Id}}' "$tag")" ]; then
    docker rmi "$before" >/dev/null 2>&1 || true
  fi
}

while [ $# -gt 0 ]; do
  case $1 in
    --jars) jars=$(cd "$2" && pwd) && shift ;;
    --mirror) mirror=$2 && shift ;;
    --rebuild) rebuild=yes ;;
    -*) die "no such option: $1" ;;
    *) version=$1 ;;
  esac
  shift
done
case $version in
  [0-9]*.[0-9]*.[0-9]*) ;;
  *) die "give a version of Apache Kafka, like 4.1.1" ;;
esac
need docker "a Docker client"
docker info >/dev/null 2>&1 || die "no Docker engine answers"
trap clean EXIT
trap 'exit 130' INT TERM
work=$(mktemp -d "${TMPDIR:-/tmp}/kafka-harness-image.XXXXXX")
if [ -n "$rebuild" ] || ! docker image inspect "$BASE" >/dev/null 2>&1; then build_base; fi
[ -n "$jars" ] || fetch_jars
build_version
echo "kafka-harness/kafka:$version"
