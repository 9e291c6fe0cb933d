/**
 * The commands used here, with their field numbers as in PulsarApi.proto of Apache Pulsar:
 * https://github.com/apache/pulsar/blob/v4.2.4/pulsar-common/src/main/proto/PulsarApi.proto
 * Enumerations are plain numbers.
 */
export const schema = `syntax = "proto2";
message KeyValue { required string key = 1; required string value = 2; }
message MessageId { required uint64 ledgerId = 1; required uint64 entryId = 2; optional int32 partition = 3 [default = -1];
  optional int32 batch_index = 4 [default = -1]; repeated int64 ack_set = 5; optional int32 batch_size = 6; }
message Metadata { required string producer_name = 1; required uint64 sequence_id = 2; required uint64 publish_time = 3; repeated KeyValue properties = 4;
  optional string partition_key = 6; optional int32 compression = 8; optional uint32 uncompressed_size = 9; optional int32 num_messages_in_batch = 11;
  repeated bytes encryption_keys = 13; optional bool partition_key_b64_encoded = 17; optional bytes ordering_key = 18; optional int64 deliver_at_time = 19;
  optional int32 marker_type = 20; optional bool null_value = 25; optional int32 num_chunks_from_msg = 27; optional int32 chunk_id = 29; }
message Single { repeated KeyValue properties = 1; optional string partition_key = 2; required int32 payload_size = 3; optional bool compacted_out = 4;
  optional uint64 event_time = 5; optional bool partition_key_b64_encoded = 6; optional bool null_value = 9; }
message Connect { required string client_version = 1; optional bytes auth_data = 3; optional int32 protocol_version = 4; optional string auth_method_name = 5;
  optional string proxy_to_broker_url = 6; optional Features feature_flags = 10; }
message Features { optional bool supports_auth_refresh = 1; }
message Connected { required string server_version = 1; optional int32 protocol_version = 2; optional int32 max_message_size = 3; }
message AuthData { optional string auth_method_name = 1; optional bytes auth_data = 2; }
message AuthChallenge { optional AuthData challenge = 2; }
message AuthResponse { optional string client_version = 1; optional AuthData response = 2; optional int32 protocol_version = 3; }
message KeyShared { required int32 keySharedMode = 1; }
message Subscribe { required string topic = 1; required string subscription = 2; required int32 subType = 3; required uint64 consumer_id = 4;
  required uint64 request_id = 5; optional string consumer_name = 6; optional int32 priority_level = 7; optional bool durable = 8; optional MessageId start_message_id = 9;
  repeated KeyValue metadata = 10; optional int32 initialPosition = 13; optional bool force_topic_creation = 15; optional KeyShared keySharedMeta = 17; }
message Partitions { required string topic = 1; required uint64 request_id = 2; }
message PartitionsResponse { optional uint32 partitions = 1; required uint64 request_id = 2; optional int32 response = 3; optional int32 error = 4; optional string message = 5; }
message Lookup { required string topic = 1; required uint64 request_id = 2; optional bool authoritative = 3; }
message LookupResponse { optional string brokerServiceUrl = 1; optional string brokerServiceUrlTls = 2; optional int32 response = 3; required uint64 request_id = 4;
  optional bool authoritative = 5; optional int32 error = 6; optional string message = 7; optional bool proxy_through_service_url = 8; }
message Producer { required string topic = 1; required uint64 producer_id = 2; required uint64 request_id = 3; optional string producer_name = 4;
  optional uint64 epoch = 8; optional bool user_provided_producer_name = 9; }
message ProducerSuccess { required uint64 request_id = 1; required string producer_name = 2; optional bool producer_ready = 6 [default = true]; }
message Send { required uint64 producer_id = 1; required uint64 sequence_id = 2; optional int32 num_messages = 3; }
message Receipt { required uint64 producer_id = 1; required uint64 sequence_id = 2; optional MessageId message_id = 3; }
message SendError { required uint64 producer_id = 1; required uint64 sequence_id = 2; required int32 error = 3; required string message = 4; }
message Message { required uint64 consumer_id = 1; required MessageId message_id = 2; optional uint32 redelivery_count = 3; repeated int64 ack_set = 4; }
message Ack { required uint64 consumer_id = 1; required int32 ack_type = 2; repeated MessageId message_id = 3; optional uint64 request_id = 8; }
message AckResponse { required uint64 consumer_id = 1; optional int32 error = 4; optional string message = 5; optional uint64 request_id = 6; }
message Flow { required uint64 consumer_id = 1; required uint32 messagePermits = 2; }
message Seek { required uint64 consumer_id = 1; required uint64 request_id = 2; optional MessageId message_id = 3; optional uint64 message_publish_time = 4; }
message Unsubscribe { required uint64 consumer_id = 1; required uint64 request_id = 2; }
message Close { required uint64 producer_id = 1; required uint64 request_id = 2; }
message Redeliver { required uint64 consumer_id = 1; repeated MessageId message_ids = 2; }
message Success { required uint64 request_id = 1; }
message Failure { required uint64 request_id = 1; required int32 error = 2; required string message = 3; }
message ActiveChange { required uint64 consumer_id = 1; optional bool is_active = 2; }
message Nothing { }
message LastId { required uint64 consumer_id = 1; required uint64 request_id = 2; }
message LastIdResponse { required MessageId last_message_id = 1; required uint64 request_id = 2; }
message TopicsOf { required uint64 request_id = 1; required string namespace = 2; optional int32 mode = 3; }
message TopicsOfResponse { required uint64 request_id = 1; repeated string topics = 2; }
message Base { required int32 type = 1; optional Connect connect = 2; optional Connected connected = 3; optional Subscribe subscribe = 4; optional Producer producer = 5;
  optional Send send = 6; optional Receipt receipt = 7; optional SendError sendError = 8; optional Message message = 9; optional Ack ack = 10; optional Flow flow = 11;
  optional Unsubscribe unsubscribe = 12; optional Success success = 13; optional Failure error = 14; optional Close closeProducer = 15; optional Close closeConsumer = 16;
  optional ProducerSuccess producerSuccess = 17; optional Nothing ping = 18; optional Nothing pong = 19; optional Redeliver redeliver = 20;
  optional Partitions partitions = 21; optional PartitionsResponse partitionsResponse = 22; optional Lookup lookup = 23; optional LookupResponse lookupResponse = 24;
  optional Seek seek = 28; optional LastId lastId = 29; optional LastIdResponse lastIdResponse = 30; optional ActiveChange activeChange = 31; optional TopicsOf topicsOf = 32;
  optional TopicsOfResponse topicsOfResponse = 33; optional AuthChallenge authChallenge = 36; optional AuthResponse authResponse = 37;
  optional AckResponse ackResponse = 38; }
`

/** The fields of a command that holds it, and its type, which is the same number. */
export const commands = {
  connect: 2,
  connected: 3,
  subscribe: 4,
  producer: 5,
  send: 6,
  receipt: 7,
  sendError: 8,
  message: 9,
  ack: 10,
  flow: 11,
  unsubscribe: 12,
  success: 13,
  error: 14,
  closeProducer: 15,
  closeConsumer: 16,
  producerSuccess: 17,
  ping: 18,
  pong: 19,
  redeliver: 20,
  partitions: 21,
  partitionsResponse: 22,
  lookup: 23,
  lookupResponse: 24,
  seek: 28,
  lastId: 29,
  lastIdResponse: 30,
  activeChange: 31,
  topicsOf: 32,
  topicsOfResponse: 33,
  authChallenge: 36,
  authResponse: 37,
  ackResponse: 38,
} as const
export type Command = keyof typeof commands
