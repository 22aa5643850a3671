#!/bin/bash
# Starts a node in the foreground: kafka-server-start.sh server.properties [--override KEY=VALUE ...]
set -eu
home=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
if [ -z "${KAFKA_LOG4J_OPTS-}" ]; then
  for file in log4j2.yaml log4j2.properties; do
    if [ -e "$home/config/$file" ]; then export KAFKA_LOG4J_OPTS="-Dlog4j2.configurationFile=$home/config/$file"; break; fi
  done
  if [ -e "$home/config/log4j.properties" ]; then
    export KAFKA_LOG4J_OPTS="-Dlog4j.configuration=file:$home/config/log4j.properties"
  fi
fi
export KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G}
exec "$home/bin/kafka-run-class.sh" kafka.Kafka "$@"
