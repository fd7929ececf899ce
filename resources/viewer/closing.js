// What the end of a viewer's connection means, in words, and whether trying again makes sense.
// retry: "soon" with back-off, "ticket" once more with a fresh login or ticket, "wake" when the session runs again,
// "never" unless a person asks.
const ENDS = {
  1000: ["The desktop closed the connection", "soon"],
  1001: ["The broker is stopping", "soon"],
  1006: ["The connection was lost", "soon"],
  1009: ["The desktop sent more at once than is allowed", "soon"],
  1011: ["The connection failed", "soon"],
  1012: ["The broker restarts", "soon"],
  4401: ["This login is no longer good", "ticket"],
  4403: ["Disconnected by an operator", "never"],
  4404: ["This session is gone", "never"],
  4408: ["The agent did not open the desktop in time", "soon"],
  4410: ["This session has ended", "never"],
  4423: ["This session is hibernated", "wake"],
  4502: ["The desktop's VNC server refused the connection", "soon"],
  4503: ["The agent is offline", "soon"],
};

// What the broker says is a sentence of its own; what anything else on the way says is added to ours.
export function meaning(code, reason) {
  const [words, usual] = ENDS[code] ?? [`The connection was closed (${code})`, "soon"];
  const retry = reason.includes("cannot be enforced") ? "never" : usual;
  const sentence = code >= 4000 && reason ? reason[0].toUpperCase() + reason.slice(1) : reason ? `${words}: ${reason}` : words;
  return { code, reason, text: /[.!?]$/.test(sentence) ? sentence : `${sentence}.`, retry };
}
