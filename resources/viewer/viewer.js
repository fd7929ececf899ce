// The viewer page, in the console's window and in a browser. The console drives it over its web channel and paints the
// bar itself; in a browser `browser.js` does both. Nothing is loaded from anywhere else.
import { Screen } from "./screen.js";

// What this machine's keys are called, by the letters that tell layouts apart.
async function layout() {
  const names = { qwertyzxcvbnm: "QWERTY", qwertzyxcvbnm: "QWERTZ", azertywxcvbn: "AZERTY", qwfpgjzxcvbk: "Colemak", "',.pyf": "Dvorak" };
  try {
    const map = await navigator.keyboard.getLayoutMap();
    const top = ["KeyQ", "KeyW", "KeyE", "KeyR", "KeyT", "KeyY"].map((code) => map.get(code)).join("");
    return Object.entries(names).find(([keys]) => keys.startsWith(top))?.[1] ?? top.toUpperCase();
  } catch {
    return "";
  }
}

const transport = window.qt?.webChannelTransport;
if (transport) {
  document.body.classList.add("hosted");
  new QWebChannel(transport, (channel) => {
    const host = channel.objects.host;
    const tell = (name, data) => host.told(name, JSON.stringify(data));
    window.viewer = new Screen(tell);
    layout().then((name) => tell("ready", { origin: location.origin, layout: name }));
  });
} else {
  const { Browser } = await import("./browser.js");
  window.viewer = new Browser().screen;
}
