// One desktop on the page: its WebSocket, noVNC on it, and who has the keyboard. Says what happens through `tell`.
import RFB from "./core/rfb.js";
import keysyms from "./core/input/keysymdef.js";
import { meaning } from "./closing.js";

const CLOSE_PATIENCE = 3000; // ms from noVNC's own end to the socket's close code
const SOCKET_PATIENCE = 15000; // ms until a socket that does not open is given up
const TYPED_AT_ONCE = 16, TYPED_EVERY = 12, TYPED_MOST = 4000, CLIPBOARD_MOST = 1 << 20;
const FRAME_EVERY = 8;
const RETURN = 0xff0d, TAB = 0xff09;

export class Screen {
  constructor(tell) {
    this.tell = tell;
    this.target = document.getElementById("screen");
    this.last = document.getElementById("last");
    this.rfb = null;
    this.socket = null;
    this.bytes = 0;
    this.scaled = true;
    this.keysRemote = false;
    this.held = new Set();
    this.setChord(["ControlRight", "Escape"]);
    for (const name of ["focusin", "focusout"]) this.target.addEventListener(name, () => setTimeout(() => this.lookAtFocus()));
    for (const name of ["focus", "blur"]) window.addEventListener(name, () => setTimeout(() => this.lookAtFocus()));
    window.addEventListener("blur", () => this.held.clear());
    window.addEventListener("keydown", (event) => this.onKey(event), true);
    window.addEventListener("keyup", (event) => this.held.delete(event.code), true);
  }

  // -- the connection ---------------------------------------------------------------------------------------------

  open({ url, viewOnly = true, scale = true, focus = false, chord }) {
    this.close();
    if (chord) this.setChord(chord);
    this.viewOnly = viewOnly;
    this.wantsFocus = focus && !viewOnly;
    this.scaled = scale;
    this.failure = "";
    this.bytes = 0;
    this.framed = false;
    this.tell("state", { state: "connecting" });
    const socket = this.socket = new WebSocket(url, ["binary"]);
    socket.binaryType = "arraybuffer";
    const patience = setTimeout(() => this.ended(socket, 1006, "nobody answered"), SOCKET_PATIENCE);
    socket.addEventListener("open", () => clearTimeout(patience));
    socket.addEventListener("message", (event) => { this.bytes += event.data.byteLength ?? 0; });
    socket.addEventListener("close", (event) => {  // before noVNC's own handler, which takes the picture away
      clearTimeout(patience);
      this.ended(socket, event.code, event.reason);
    });
    this.begin(socket);
  }

  begin(socket) {
    const rfb = this.rfb = new RFB(this.target, socket, { shared: true });
    this.canvas = this.target.querySelector("canvas");
    rfb.viewOnly = this.viewOnly;
    rfb.focusOnClick = !this.viewOnly;
    rfb.background = "#101418";
    rfb.scaleViewport = this.scaled;
    rfb.resizeSession = false;
    rfb.addEventListener("connect", () => this.connected(rfb));
    rfb.addEventListener("disconnect", () => setTimeout(() => this.ended(socket, 1006, ""), CLOSE_PATIENCE));
    rfb.addEventListener("credentialsrequired", (event) => this.tell("credentials", { types: event.detail.types }));
    rfb.addEventListener("securityfailure", (event) => { this.failure = event.detail.reason || "it gave no reason"; });
    rfb.addEventListener("clipboard", (event) => this.tell("clipboard", { text: event.detail.text.slice(0, CLIPBOARD_MOST) }));
    rfb.addEventListener("desktopname", (event) => this.tell("name", { name: event.detail.name }));
    rfb.addEventListener("bell", () => this.tell("bell", {}));
  }

  connected(rfb) {
    if (rfb !== this.rfb) return;
    this.tell("state", { state: "connected" });
    if (this.wantsFocus) rfb.focus();
    this.awaitFrame(rfb);
  }

  awaitFrame(rfb) {  // what has been drawn is opaque, whatever its colours; what has not is transparent
    if (rfb !== this.rfb) return;
    const small = this.probe ??= new OffscreenCanvas(16, 16).getContext("2d", { willReadFrequently: true });
    small.clearRect(0, 0, 16, 16);
    if (this.canvas.width) small.drawImage(this.canvas, 0, 0, 16, 16);
    if (!small.getImageData(0, 0, 16, 16).data.some((value, at) => at % 4 === 3 && value > 0)) {
      setTimeout(() => this.awaitFrame(rfb), FRAME_EVERY);  // no animation frame: a covered window gets none
      return;
    }
    this.last.hidden = true;
    this.framed = true;
    this.tell("frame", { width: this.canvas.width, height: this.canvas.height });
  }

  ended(socket, code, reason) {
    if (socket !== this.socket) return;
    this.keepPicture();
    const end = this.failure
      ? { code, reason, text: `The desktop's VNC server refused the login: ${this.failure}.`, retry: "credentials" }
      : meaning(code, reason);
    this.drop();
    this.tell("state", { state: "closed", ...end });
  }

  close() {
    if (this.socket === null) return;
    this.keepPicture();
    this.drop();
  }

  drop() {  // no event of the old connection is heard after this
    const rfb = this.rfb, socket = this.socket;
    this.rfb = this.socket = null;
    rfb?.disconnect();
    socket?.close();
    this.lookAtFocus();
  }

  keepPicture() {  // the last picture stays, grey: nobody shall take it for live
    if (this.rfb === null || !this.framed) return;
    this.last.width = this.canvas.width;
    this.last.height = this.canvas.height;
    this.last.getContext("2d").drawImage(this.canvas, 0, 0);
    this.last.hidden = false;
  }

  // -- what the bar asks for --------------------------------------------------------------------------------------

  credentials(given) { this.rfb?.sendCredentials(given); }

  scale(on) {
    this.scaled = on;
    if (this.rfb) this.rfb.scaleViewport = on;
  }

  ctrlAltDel() { this.rfb?.sendCtrlAltDel(); }

  clipboard(text) { this.rfb?.clipboardPasteFrom(text.slice(0, CLIPBOARD_MOST)); }

  type(text) {
    const points = [...text.replaceAll("\r\n", "\n")].slice(0, TYPED_MOST), rfb = this.rfb;
    const step = () => {
      if (rfb === null || rfb !== this.rfb) return;
      for (const point of points.splice(0, TYPED_AT_ONCE)) {
        const code = point.codePointAt(0);
        rfb.sendKey(point === "\n" ? RETURN : point === "\t" ? TAB : keysyms.lookup(code), null);
      }
      if (points.length) setTimeout(step, TYPED_EVERY);
      else this.tell("typed", {});
    };
    step();
  }

  // -- the keyboard -----------------------------------------------------------------------------------------------

  setChord(codes) {
    this.chordHeld = codes.slice(0, -1);
    this.chordLast = codes.at(-1);
  }

  keys() { if (!this.viewOnly) this.rfb?.focus(); }

  release() {
    window.dispatchEvent(new Event("blur"));  // noVNC lets go of every key that it holds down over there
    document.activeElement?.blur();
    this.lookAtFocus();
  }

  onKey(event) {
    if (event.code === this.chordLast && this.chordHeld.every((code) => this.held.has(code))) {
      event.preventDefault();
      event.stopImmediatePropagation();
      this.held.clear();
      this.release();
      this.tell("released", {});
      return;
    }
    this.held.add(event.code);
  }

  lookAtFocus() {
    const remote = this.rfb !== null && !this.viewOnly && document.hasFocus() && document.activeElement === this.canvas;
    if (remote !== this.keysRemote) {
      this.keysRemote = remote;
      this.tell("keys", { remote });
    }
  }

  // -- looking at it ----------------------------------------------------------------------------------------------

  stats() { return { bytes: this.bytes, width: this.canvas?.width ?? 0, height: this.canvas?.height ?? 0, shown: this.canvas?.clientWidth ?? 0 }; }

  pixel(x, y) { return [...this.canvas.getContext("2d").getImageData(x, y, 1, 1).data.slice(0, 3)]; }
}
