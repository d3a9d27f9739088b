// The page at `/`: a chat, the cluster as it is now, the last two minutes, and how to connect. Plain modules, nothing from elsewhere.
import { chat } from "./chat/chat.js";
import { historyDrawer } from "./chat/history_drawer.js";
import { ModelChoice, modelText } from "./chat/models.js";
import { settings } from "./chat/settings.js";
import { cellEvents, FRONT_CHARTS, frontState, frontText, frontValues, modelsOf, showCells } from "./cluster/cells.js";
import { charts } from "./cluster/charts.js";
import { flowsBetween } from "./cluster/flows.js";
import { IncidentList } from "./cluster/incidents.js";
import { devicesOf, showMemory } from "./cluster/memory.js";
import { Mesh } from "./cluster/mesh.js";
import { CLUSTER_CHARTS, clusterValues, Recent } from "./cluster/recent.js";
import { showWorkers } from "./cluster/workers_table.js";
import { connect } from "./connect.js";
import { announce } from "./dom.js";
import { changeKey, get, getText, isKeyed } from "./server.js";

const element = (id) => document.getElementById(id);

const models = new ModelChoice({ name: element("model"), select: element("models") });
const ask = settings({
  dialog: element("settings"),
  opener: element("open-settings"),
  form: element("settings-form"),
  reset: element("reset"),
  mark: element("changed"),
});
const conversations = chat(
  {
    form: element("ask"),
    message: element("message"),
    log: element("log"),
    turns: element("turns"),
    welcome: element("welcome"),
    title: element("chat-title"),
    notice: element("notice"),
    send: element("send"),
    stop: element("stop"),
    fresh: element("fresh"),
    adder: element("add-file"),
    files: element("files"),
  },
  ask,
  () => models.current,
);
historyDrawer({
  dialog: element("history"),
  opener: element("open-history"),
  list: element("history-list"),
  problem: element("history-problem"),
  importer: element("import"),
  file: element("import-file"),
  exporter: element("export-all"),
  markdown: element("export-one"),
  clearer: element("delete-all"),
}, conversations);

// Snippets name the model that is chosen, and the state is that of it.
element("models").addEventListener("change", () => {
  showClients(models.current, isKeyed());
  if (last !== null && !isFront(last.status)) showState(last.status);
});

// Beside each other where there is room; else one at a time.
for (const choice of element("views").children) {
  choice.addEventListener("click", () => {
    element("main").dataset.view = choice.dataset.view;
    for (const other of element("views").children) other.setAttribute("aria-pressed", String(other === choice));
  });
}
// A click beside a drawer closes it.
for (const drawer of document.querySelectorAll("dialog.drawer")) {
  drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());
}

const showClients = connect({ choice: element("client"), snippet: element("snippet"), buttons: element("snippet-buttons") });
const history = new Recent(120);
/** Of a cluster or of a front, made when it is known which. */
let showCharts = null;
const mesh = new Mesh(element("mesh"));
const incidents = new IncidentList(element("incidents"));
element("change-key").addEventListener("click", () => void changeKey().then(look));

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

/** How far loading has come. */
function loaded({ loadedBytes, totalBytes, downloading, bytesPerSecond, secondsLeft }) {
  const parts = [downloading ? "downloading" : "loading"];
  if (totalBytes > 0) parts.push(`${Math.floor(100 * loadedBytes / totalBytes)} %`);
  if (downloading && totalBytes > 0) parts.push(`${(loadedBytes / 1e9).toFixed(2)} of ${(totalBytes / 1e9).toFixed(2)} GB`);
  if (downloading && bytesPerSecond !== null) parts.push(`${(bytesPerSecond / 1e6).toFixed(1)} MB/s`);
  if (downloading && secondsLeft !== null) parts.push(secondsLeft < 100 ? `${secondsLeft} s left` : `${Math.round(secondsLeft / 60)} min left`);
  return parts.join(" · ");
}

/** Says what the server is at; those who hear the page hear what is new. */
function tell(text, kind) {
  const state = element("state");
  if (state.className !== kind) announce(`The server: ${text}`);
  state.textContent = state.title = text;
  state.className = kind;
}

/** The last look: what it said, and when. */
let last = null;

let looking = false;

/** One look at the server, unless the last has not ended. */
async function look() {
  if (looking) return;
  looking = true;
  const status = await get("cluster").catch((error) => {
    const away = error instanceof TypeError || error.name === "TimeoutError";
    if (away) incidents.away();
    tell(away ? "The server does not answer" : error.message, "down");
    return null;
  });
  looking = false;
  element("change-key").hidden = !isKeyed();
  if (status === null) return;
  // Something else has its address by now.
  if (last !== null && isFront(last.status) !== isFront(status)) return location.reload();
  if (isFront(status)) showFront(status);
  else show(status);
}

/** Whether a front answers, which computes nothing itself. */
const isFront = ({ cells }) => cells !== undefined;

/** Shows which models there are, and whether the one that is asked can answer. */
function showState(status) {
  const { loading, ready, scheduling: { waiting, running } } = status;
  models.show(status);
  const coming = status.models?.find(({ state }) => state === "loading");
  if (loading) tell(loaded(loading), "busy");
  else if (models.failure !== null) tell(models.failure, "down");
  else if (!ready) tell("not ready", "down");
  else if (coming !== undefined) tell(modelText(coming), "busy");
  else tell(running + waiting === 0 ? "ready" : `${running} answering · ${waiting} waiting`, "up");
}

/** Shows what a look said. */
function show(status) {
  const { loading, summary, units, blockTokens } = status;
  const now = performance.now();
  const flows = flowsBetween(last?.status ?? status, status, last === null ? 1 : (now - last.at) / 1000);
  const throughput = last === null ? null : flows.tokens;
  last = { status, at: now };
  showState(status);
  // While it loads there is nothing to say of units, and the state says so.
  element("cluster-summary").textContent = loading ? "The model is still loading." : summary;
  const { totalBytes = 0, loadedBytes = 0 } = loading ?? {};
  const progress = element("loading");
  progress.hidden = !loading;
  if (totalBytes > 0) progress.value = loadedBytes / totalBytes;
  element("side").classList.toggle("empty", units.length === 0);
  showClients(models.current, isKeyed());
  if (units.length > 0) mesh.show(status, flows);
  showMemory(element("memory"), devicesOf(units, blockTokens));
  incidents.show(status.incidents);
  if (element("workers").open) showWorkers(element("workers-table"), units);
  showHistory(clusterValues(status, throughput), CLUSTER_CHARTS, now);
}

/** Shows what a look at a front said. */
function showFront(status) {
  const { cells } = status;
  for (const { good, text } of last === null ? [] : cellEvents(last.status.cells, cells)) incidents.see(good, text);
  const now = performance.now();
  last = { status, at: now };
  models.show(modelsOf(cells));
  tell(...frontState(status));
  element("cluster-title").textContent = "Cells";
  element("cluster-summary").textContent = frontText(status);
  element("side").classList.add("front");
  element("side").classList.toggle("empty", cells.length === 0);
  showClients(models.current, isKeyed());
  showCells(element("cells-table"), cells);
  incidents.show([]);
  showHistory(frontValues(status), FRONT_CHARTS, now);
}

function showHistory(values, kinds, now) {
  history.add(values, now);
  showCharts ??= charts(element("charts"), history, kinds);
  showCharts();
}
element("workers").addEventListener("toggle", () => last !== null && showWorkers(element("workers-table"), last.status.units));

// Before the first look: one that fails must not be the last.
setInterval(() => {
  if (!document.hidden) look();
}, 1000);
await look();
