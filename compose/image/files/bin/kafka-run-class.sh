#!/bin/bash
# Runs a Java class with Kafka's jars: kafka-run-class.sh [-name NAME] [-loggc] CLASS [ARGUMENT...]
# The variables are those of Apache Kafka's own script (KAFKA_HEAP_OPTS, KAFKA_JVM_PERFORMANCE_OPTS, KAFKA_OPTS,
# KAFKA_LOG4J_OPTS, KAFKA_JMX_OPTS, JMX_PORT, CLASSPATH); -name and -loggc are taken and ignored.
# The class path names every jar, sorted: a CDS archive fits only one order, and a folder's own order is anybody's guess.
set -eu
home=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
while [ $# -gt 0 ]; do
  case $1 in
    -name) shift 2 ;;
    -loggc) shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || { echo "kafka-run-class.sh: give a class" >&2; exit 1; }
LC_ALL=C
path=$(printf ':%s' "$home"/libs/*.jar)
path=${path#:}
[ -z "${CLASSPATH-}" ] || path=$path:$CLASSPATH
jmx=${KAFKA_JMX_OPTS-}
[ -z "${JMX_PORT-}" ] || jmx="$jmx -Dcom.sun.management.jmxremote.port=$JMX_PORT -Dcom.sun.management.jmxremote.rmi.port=$JMX_PORT"
java=java
[ -z "${JAVA_HOME-}" ] || java=$JAVA_HOME/bin/java
# shellcheck disable=SC2086 # options are words
exec "$java" ${KAFKA_HEAP_OPTS--Xmx256M} ${KAFKA_JVM_PERFORMANCE_OPTS--XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
  ${KAFKA_GC_LOG_OPTS-} $jmx -Dkafka.logs.dir="$home/logs" ${KAFKA_LOG4J_OPTS-} -cp "$path" ${KAFKA_OPTS-} "$@"
