// Opens a stack, then as a virtual stack, edits, saves as TIFF and raw; prints what it saw.
// Arguments: folder, name of the stack.
args = split(getArgument(), "|");
dir = args[0];
name = args[1];

function look(what) {
    getDimensions(width, height, channels, slices, frames);
    setSlice(nSlices / 2);
    getStatistics(area, mean, min, max);
    print(what + " " + width + "x" + height + "x" + nSlices + " mean " + d2s(mean, 6) + " " + min + " " + max);
}

setBatchMode(true);
open(dir + name);
look("open");
saveAs("Tiff", dir + "saved.tif");
run("Add...", "value=3 stack");
saveAs("Tiff", dir + "saved.tif");
saveAs("Raw Data", dir + "saved.raw");
run("32-bit");
saveAs("Tiff", dir + "float.tif");
close();

run("TIFF Virtual Stack...", "open=[" + dir + name + "]");
look("virtual");
setSlice(nSlices);
getStatistics(area, mean);
print("last plane " + d2s(mean, 6));
setSlice(1);
getStatistics(area, mean);
print("first plane " + d2s(mean, 6));
close();

open(dir + "saved.tif");
look("again");
run("Make Substack...", "slices=2-5");
saveAs("Tiff", dir + "substack.tif");
close();
print("done");
