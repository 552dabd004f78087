// For ComfyUI's own web page (1.27): it takes for granted that the server has every loader of ComfyUI's core, and makes no list of files at
// all when one is missing. This takes those that are missing out of its table. The server names it in /extensions while it lacks some.
import { app } from '/scripts/app.js'

function mend(store) {
  store.registerDefaults()
  for (const [kind, providers] of Object.entries(store.modelToNodeMap)) store.modelToNodeMap[kind] = providers.filter((p) => p.nodeDef)
}

app.registerExtension({ name: 'rylagraph.loaders', init() {
  const pinia = document.getElementById('vue-app')?.__vue_app__?.config.globalProperties.$pinia
  if (!pinia) return
  const isThere = () => Object.keys(pinia._s.get('nodeDef')?.nodeDefsByName || {}).length > 0
  const watch = (store) => {
    if (store.$id === 'nodeDef') store.$onAction(({ name, after }) => name === 'updateNodeDefs' && after(() => pinia._s.has('modelToNode') && mend(pinia._s.get('modelToNode'))))
    if (store.$id === 'modelToNode' && isThere()) queueMicrotask(() => mend(store))
  }
  pinia._s.forEach(watch)
  pinia.use(({ store }) => watch(store))
} })
