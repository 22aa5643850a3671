#!/bin/bash
# Kafka's command line tools under their own names: the image links kafka-topics.sh and the others to this file.
set -eu
home=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
name=$(basename "$0" .sh)
tools=org.apache.kafka.tools
case $name in
  kafka-cluster) class=$tools.ClusterTool ;;
  kafka-configs) class=kafka.admin.ConfigCommand ;;
  kafka-console-consumer) class=$tools.consumer.ConsoleConsumer old=kafka.tools.ConsoleConsumer ;;
  kafka-console-producer) class=$tools.ConsoleProducer old=kafka.tools.ConsoleProducer ;;
  kafka-consumer-groups) class=$tools.consumer.group.ConsumerGroupCommand old=kafka.admin.ConsumerGroupCommand ;;
  kafka-delete-records) class=$tools.DeleteRecordsCommand ;;
  kafka-dump-log) class=kafka.tools.DumpLogSegments ;;
  kafka-features) class=$tools.FeatureCommand ;;
  kafka-get-offsets) class=$tools.GetOffsetShell ;;
  kafka-leader-election) class=$tools.LeaderElectionCommand ;;
  kafka-log-dirs) class=$tools.LogDirsCommand ;;
  kafka-metadata-quorum) class=$tools.MetadataQuorumCommand ;;
  kafka-producer-perf-test) class=$tools.ProducerPerformance ;;
  kafka-reassign-partitions) class=$tools.reassign.ReassignPartitionsCommand ;;
  kafka-storage) class=kafka.tools.StorageTool ;;
  kafka-topics) class=$tools.TopicCommand ;;
  kafka-transactions) class=$tools.TransactionsCommand ;;
  *) echo "no such tool: $name" >&2 && exit 1 ;;
esac
# Kafka 3.7 still has some of them in their old places.
if [ -n "${old-}" ] && compgen -G "$home/libs/kafka_2.13-3.*.jar" >/dev/null; then class=$old; fi
# What a tool has to say is its output: its log stays silent below errors.
if [ -z "${KAFKA_LOG4J_OPTS-}" ]; then
  export KAFKA_LOG4J_OPTS="-Dlog4j2.configurationFile=$home/config/tools-log4j2.properties -Dlog4j.configuration=file:$home/config/tools-log4j.properties"
fi
exec "$home/bin/kafka-run-class.sh" "$class" "$@"
