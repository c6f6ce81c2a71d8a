import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// Relative links: the console also works below a path that a proxy gives it.
export default defineConfig({
  base: './',
  plugins: [svelte()],
  build: {
    outDir: '../src/linkspan/api/console/static',
    emptyOutDir: true,
    target: 'es2022',
    // The content security policy allows no data: URL.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
})
