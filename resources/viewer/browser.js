// The viewer in a browser: token out of the address bar, bar, banner, login, reconnect.
import { Screen } from "./screen.js";

const DELAYS = [1, 2, 4, 8, 15], MOST = 10;
const by = (id) => document.getElementById(id);

export class Browser {
  constructor() {
    const given = new URLSearchParams(location.hash.slice(1)), query = new URLSearchParams(location.search);
    const take = (name) => given.get(name) ?? query.get(name);
    this.token = take("token") ?? "";
    this.viewOnly = (take("mode") ?? "control") === "view";
    history.replaceState(null, "", location.pathname + (this.viewOnly ? "?mode=view" : ""));
    this.session = decodeURIComponent(location.pathname.split("/").filter(Boolean).at(-1) ?? "");
    this.api = location.pathname.startsWith("/api/v1/") ? "/api/v1" : new URL("/api/v1", location).pathname;
    this.tries = 0;
    this.timer = null;
    this.screen = new Screen((name, data) => this[`on_${name}`]?.(data));
    this.dress();
    if (this.token) this.connect();
    else this.askLogin("Log in to see this desktop.");
  }

  dress() {
    by("bar").hidden = false;
    by("name").textContent = this.session;
    by("mode").textContent = this.viewOnly ? "VIEW ONLY" : "CONTROL";
    by("mode").classList.toggle("control", !this.viewOnly);
    by("chord").textContent = this.viewOnly ? "" : "Right-Ctrl+Escape gives keys back";
    for (const id of ["cad", "paste", "type"]) by(id).hidden = this.viewOnly;
    this.on_keys({ remote: false });
    by("scale").onclick = () => this.scale(!this.screen.scaled);
    by("cad").onclick = () => this.screen.ctrlAltDel();
    by("paste").onclick = () => this.local((text) => this.screen.clipboard(text));
    by("type").onclick = () => this.local((text) => this.screen.type(text));
    by("full").onclick = () => document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen();
    by("again").onclick = () => { this.tries = 0; this.connect(); };
    by("ask").onsubmit = (event) => { event.preventDefault(); this.answer?.(); };
    document.addEventListener("visibilitychange", () => { if (!document.hidden && this.waiting) this.connect(); });
    let before = 0;
    setInterval(() => {
      by("rate").textContent = this.screen.socket ? `${((this.screen.bytes - before) / 1000).toFixed(0)} kB/s` : "";
      before = this.screen.bytes;
    }, 1000);
  }

  connect() {
    clearTimeout(this.timer);
    this.waiting = false;
    by("ask").hidden = true;
    const query = new URLSearchParams({ token: this.token, ...(this.viewOnly ? { mode: "view" } : {}) });
    const url = new URL(`${location.pathname}?${query}`, location);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.opened = false;
    this.screen.open({ url: url.href, viewOnly: this.viewOnly, scale: this.screen.scaled, focus: true });
  }

  say(text, { again = false, ended = false } = {}) {
    by("banner").hidden = !text;
    by("banner").classList.toggle("ended", ended);
    by("words").textContent = text;
    by("again").hidden = !again;
  }

  on_state(data) {
    if (data.state === "connected") { this.tries = 0; this.opened = true; this.say(""); }
    if (data.state === "closed") this.closed(data);
  }

  on_name({ name }) { by("name").textContent = document.title = name; }

  on_keys({ remote }) {
    by("light").textContent = remote ? "keys go to the desktop" : "keys stay here";
    by("light").classList.toggle("remote", remote);
  }

  on_clipboard({ text }) { if (document.hasFocus()) navigator.clipboard?.writeText(text).catch(() => this.say("The browser does not allow the clipboard.", {})); }

  on_credentials({ types }) { this.ask("The desktop's VNC server asks for a login.", types, (given) => this.screen.credentials(given)); }

  async closed(end) {
    const known = this.opened || end.code !== 1006 ? null : await this.refusal();
    if (known?.login) { this.askLogin(known.text); return; }
    const text = known?.text ?? end.text;
    if (end.retry === "ticket") { this.askLogin(text); return; }
    if (known?.final || end.retry === "never" || end.retry === "wake" || end.retry === "credentials") {
      this.say(text, { again: true, ended: true });
      return;
    }
    if (this.tries >= MOST) { this.say(`${text} Given up after ${MOST} tries.`, { again: true, ended: true }); return; }
    const delay = DELAYS[Math.min(this.tries++, DELAYS.length - 1)];
    this.say(`${text} Trying again in ${delay} s (${this.tries} of ${MOST}).`, { again: true });
    this.waiting = true;
    this.timer = setTimeout(() => this.connect(), delay * 1000);
  }

  async refusal() {  // a refused upgrade has no reason that a page could read, but the API says it
    try {
      const answer = await fetch(`${this.api}/sessions/${encodeURIComponent(this.session)}`, { headers: { Authorization: `Bearer ${this.token}` } });
      const body = await answer.json();
      if (answer.status === 401) return { login: true, text: "Log in to see this desktop." };
      if (!answer.ok) return { final: true, text: `${body.message ?? answer.status}` };
      if (body.state !== "running") return { final: true, text: `This session is ${body.state}.` };
    } catch {
      return null;
    }
    return null;
  }

  askLogin(text) {
    this.ask(text, ["username", "password"], async ({ username, password }) => {
      try {
        const answer = await fetch(`${this.api}/auth/login`, {
          method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ username, password }),
        });
        const body = await answer.json();
        if (!answer.ok) { this.askLogin(body.message ?? `The broker answered ${answer.status}.`); return; }
        this.token = body.token;
        this.connect();
      } catch (error) {
        this.askLogin(`The broker does not answer: ${error.message}`);
      }
    });
  }

  ask(text, types, answer) {
    this.say("");
    by("ask-words").textContent = text;
    by("user-row").hidden = !types.includes("username");
    by("ask").hidden = false;
    (types.includes("username") ? by("user") : by("password")).focus();
    this.answer = () => {
      by("ask").hidden = true;
      answer({ username: by("user").value, password: by("password").value });
      by("password").value = "";
    };
  }

  scale(on) {
    this.screen.scale(on);
    by("scale").textContent = on ? "1:1" : "Fit";
  }

  async local(use) {
    try {
      use(await navigator.clipboard.readText());
    } catch {
      this.say("The browser does not allow this page to read the clipboard.", {});
    }
    this.screen.keys();
  }
}
