/**
 * What NATS' client does not do for its sockets.
 *
 * @module
 */

let guarded: Promise<void> | null = null;

/**
 * The client takes all listeners off a socket before it puts others there, and when it gives one up: an error that comes in between is nobody's, and would end the
 * process. Here it is nobody's loss: the client learns from the socket's end.
 */
export function guardSockets(): Promise<void> {
  return guarded ??= import("@nats-io/transport-node/lib/node_transport.js").then(({ NodeTransport }) => {
    const { dial } = NodeTransport.prototype;
    NodeTransport.prototype.dial = async function (place) {
      const socket = await dial.call(this, place);
      const remove = socket.removeAllListeners.bind(socket);
      const ignore = () => {};
      // Without an event means of all events, which is not the same as of the event `undefined`.
      socket.removeAllListeners = (...events: [event?: string | symbol]) => {
        remove(...events);
        return socket.listeners("error").includes(ignore) ? socket : socket.on("error", ignore);
      };
      return socket.on("error", ignore);
    };
  });
}
