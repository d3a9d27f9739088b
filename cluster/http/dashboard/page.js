// The page at `/`: a chat, the cluster as it is now, and the last two minutes. Plain modules, nothing from elsewhere.
import { chat } from "./chat.js";
import { drawChart, History } from "./charts.js";
import { connect } from "./connect.js";
import { drawUnits } from "./units.js";
import { get, getText, isKeyed } from "./server.js";

const element = (id) => document.getElementById(id);
const history = new History(120);

/** How far loading has come. */
function loaded({ loadedBytes, totalBytes, downloading, bytesPerSecond, secondsLeft }) {
  const parts = [downloading ? "downloading" : "loading"];
  if (totalBytes > 0) parts.push(`${Math.floor(100 * loadedBytes / totalBytes)} %`);
  if (downloading && totalBytes > 0) parts.push(`${(loadedBytes / 1e9).toFixed(2)} of ${(totalBytes / 1e9).toFixed(2)} GB`);
  if (downloading && bytesPerSecond !== null) parts.push(`${(bytesPerSecond / 1e6).toFixed(1)} MB/s`);
  if (downloading && secondsLeft !== null) parts.push(secondsLeft < 100 ? `${secondsLeft} s left` : `${Math.round(secondsLeft / 60)} min left`);
  return parts.join(" · ");
}

const showClients = connect({ choice: element("client"), snippet: element("snippet"), copy: element("copy") });

/** A link would go without the key. */
element("metrics").addEventListener("click", async (event) => {
  event.preventDefault();
  const text = element("metrics-text");
  try {
    text.textContent = await getText("metrics");
  } catch (error) {
    text.textContent = error.message;
  }
  element("metrics-dialog").showModal();
});

/** One look at the server. */
async function look() {
  const state = element("state");
  try {
    const status = await get("cluster");
    element("summary").textContent = status.model;
    // While it loads there is nothing to say of units, and the state says so.
    element("cluster-summary").textContent = status.loading ? "" : status.summary;
    showClients(status.model, isKeyed());
    const { waiting, running } = status.scheduling;
    state.textContent = status.loading ? loaded(status.loading) : `${status.ready ? "ready" : "not ready"} · ${running} decoding, ${waiting} waiting`;
    state.className = status.ready ? "up" : "down";
    drawUnits(element("units"), status.units, status.loading !== null);
    history.add(status);
    drawChart(element("throughput"), element("throughput-now"), history, (entry) => entry.throughput);
    drawChart(element("first"), element("first-now"), history, (entry) => entry.first, (entry) => entry.firstHigh);
    drawChart(element("between"), element("between-now"), history, (entry) => entry.between, (entry) => entry.betweenHigh);
    drawChart(element("cache"), element("cache-now"), history, (entry) => entry.cache, undefined, 100);
  } catch (error) {
    state.textContent = `The server does not answer: ${error.message}`;
    state.className = "down";
  }
}

chat({
  form: element("ask"),
  message: element("message"),
  system: element("system"),
  temperature: element("temperature"),
  most: element("most"),
  conversation: element("conversation"),
  again: element("again"),
  stop: element("stop"),
  send: element("send"),
  clear: element("clear"),
});

await look();
setInterval(() => {
  if (!document.hidden) look();
}, 1000);
