import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { readHubAccess } from "../../../cluster/hub/hub_access.ts";

describe("access to a hub", () => {
  it("is what the variables of Python's library say", async () => {
    const home = await Deno.makeTempDir();
    const access = (env: Record<string, string>) => readHubAccess((name) => env[name]);
    try {
      await Deno.writeTextFile(`${home}/token`, "hf_stored\n");
      await Deno.writeTextFile(`${home}/other`, "hf_other\n");
      assertEquals(await access({ HF_HOME: home }), { endpoint: "https://huggingface.co", token: "hf_stored", cache: `${home}/hub`, offline: false });
      assertEquals(
        await access({
          HF_HOME: `${home}/`,
          HF_TOKEN: " hf_mine\n",
          HF_HUB_CACHE: "/models",
          HF_ENDPOINT: "http://mirror:80/hub/",
          HF_HUB_OFFLINE: "Yes",
        }),
        {
          endpoint: "http://mirror:80/hub",
          token: "hf_mine",
          cache: "/models",
          offline: true,
        },
      );
      assertEquals((await access({ HF_HOME: home, HF_TOKEN_PATH: `${home}/other`, HF_HUB_OFFLINE: "0" })).token, "hf_other");
      assertEquals((await access({ HF_HOME: `${home}/none`, HF_TOKEN: "" })).token, null);
      assertEquals((await access({ HF_HOME: "~/hf" })).cache, `${Deno.env.get("HOME")}/hf/hub`);
      await assertRejects(() => access({ HF_ENDPOINT: "huggingface.co" }), LatentmeshError, "HF_ENDPOINT");
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });
});
