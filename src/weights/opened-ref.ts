import type { ModelDraft } from "../model/draft.ts";
import type { StoredModel } from "../model/stored-model.ts";
import type { FileSource } from "../node/file-source.ts";
import type { Store } from "../store/store.ts";
import type { WeightSource } from "./weight-source.ts";

/** What a reference leads to. Dispose it to close what was opened. */
export type OpenedRef = AsyncDisposable & { readonly name: string } & (
    | { readonly kind: "model"; readonly store: Store; readonly model: StoredModel }
    | { readonly kind: "files"; readonly draft: ModelDraft<FileSource> }
    | { readonly kind: "url"; readonly draft: ModelDraft }
    | { readonly kind: "weights"; readonly source: WeightSource }
  );
