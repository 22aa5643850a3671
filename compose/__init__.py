"""What the Apache Kafka clusters are made from: compose files, the image build, poms and logging. Data, no Python."""
