/** What is used of the NATS client. The build makes a file of its own of it, which only those load who use NATS. */
export { connect, headers } from "@nats-io/transport-node";
