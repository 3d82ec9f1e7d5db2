package gmme.edge

import android.content.res.AssetManager

/** The bundle that the app ships in assets/bundle. */
fun openBundle(assets: AssetManager) =
    Bundle { name -> assets.open("bundle/$name").use { it.readBytes() } }
